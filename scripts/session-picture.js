// Draws a terminal session, read from standard input, as an SVG: node packages/devmgr/bin/devmgr.js demo --once |
// node scripts/session-picture.js > docs/images/session.svg. Arguments: first and last line to draw.
const COLUMN_PX = 8.05;
const LINE_PX = 18;
const MARGIN_PX = 20;

let text = '';
for await (const chunk of process.stdin) text += chunk;
const [first = '1', last = '1000'] = process.argv.slice(2);
const lines = text
  .trimEnd()
  .split('\n')
  .slice(Number(first) - 1, Number(last));
const columns = Math.max(...lines.map((line) => line.length), 80);
const width = Math.round(columns * COLUMN_PX + 2 * MARGIN_PX);
const height = Math.round(lines.length * LINE_PX + 2 * MARGIN_PX);

const escape = (line) =>
  line.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll(' ', '\u00a0');
const style = (line) => {
  if (line.startsWith('$ ')) return 'c';
  if (/^\d+\. /.test(line) || line.startsWith('devmgr at work')) return 'h';
  if (/UnexpectedAdmissionError|Unhealthy|rejected|7\/8/.test(line)) return 'w';
  if (/^[A-Z][A-Z -]*$/.test(line.replaceAll(/ {2,}/g, ' '))) return 'd';
  return 't';
};
const rows = lines.map((line, index) => {
  const y = MARGIN_PX + (index + 0.75) * LINE_PX;
  return line === '' ? '' : `<text class="${style(line)}" x="${MARGIN_PX}" y="${y}">${escape(line)}</text>`;
});

console.log(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="A terminal session of npm start">
<style>
rect { fill: #14181f }
text { font: 13.3px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre; fill: #d3dae4 }
.c { fill: #7ee0a1 } .h { fill: #ffffff; font-weight: 700 } .w { fill: #ffb86b } .d { fill: #8a97a8 }
</style>
<rect width="100%" height="100%" rx="8"/>
${rows.filter((row) => row !== '').join('\n')}
</svg>`);
