import type { Report } from './report.ts';

interface Badge {
  readonly label: string;
  readonly message: string;
  readonly colour: 'brightgreen' | 'yellow' | 'red';
}

const HEX: Readonly<Record<Badge['colour'], string>> = { brightgreen: '#3fb950', yellow: '#d29922', red: '#da3633' };
/** Of the font below, in pixels; wide enough for every letter that occurs. */
const LETTER_WIDTH = 7;
const MARGIN = 6;

/** What the badge says: `device plugin | 62 checks passed`. */
function badgeOf({ summary }: Report): Badge {
  const { pass, fail, warn } = summary;
  if (fail > 0)
    return {
      label: 'device plugin',
      message: `${String(fail)} of ${String(pass + warn + fail)} checks failed`,
      colour: 'red',
    };
  const checks = `${String(pass + warn)} ${pass + warn === 1 ? 'check' : 'checks'} passed`;
  return warn > 0
    ? {
        label: 'device plugin',
        message: `${checks}, ${String(warn)} ${warn === 1 ? 'warning' : 'warnings'}`,
        colour: 'yellow',
      }
    : { label: 'device plugin', message: checks, colour: 'brightgreen' };
}

/** A badge for shields.io to draw. (shields.io: endpoint badge) */
export function badgeJson(report: Report): string {
  const { label, message, colour } = badgeOf(report);
  return `${JSON.stringify({ schemaVersion: 1, label, message, color: colour })}\n`;
}

/** A badge as it is. */
export function badgeSvg(report: Report): string {
  const { label, message, colour } = badgeOf(report);
  const left = label.length * LETTER_WIDTH + 2 * MARGIN;
  const right = message.length * LETTER_WIDTH + 2 * MARGIN;
  const width = left + right;
  const word = (at: number, size: number, content: string): string =>
    `<text x="${String(at + size / 2)}" y="14" textLength="${String(size - 2 * MARGIN)}">${content}</text>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${String(width)}" height="20" role="img" aria-label="${label}: ${message}">
  <title>${label}: ${message}</title>
  <clipPath id="corners"><rect width="${String(width)}" height="20" rx="3"/></clipPath>
  <g clip-path="url(#corners)">
    <rect width="${String(left)}" height="20" fill="#444c56"/>
    <rect x="${String(left)}" width="${String(right)}" height="20" fill="${HEX[colour]}"/>
  </g>
  <g fill="#fff" text-anchor="middle" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11">
    ${word(0, left, label)}
    ${word(left, right, message)}
  </g>
</svg>
`;
}
