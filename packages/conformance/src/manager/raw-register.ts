import { connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { connect } from 'node:net';
import { deviceplugin } from '@devmgr/wire';

const TIMEOUT_MS = 10_000;

/**
 * Register with any `:authority`, the empty one too, which gRPC libraries do not let their users choose. Resolves to
 * what came of it: `OK`, `status 2: …`, `refused the stream: …` or `no answer`. Never rejects.
 */
export async function registerAs(
  authority: string,
  socketPath: string,
  request: deviceplugin.RegisterRequest,
): Promise<string> {
  const message = Buffer.from(deviceplugin.RegisterRequest.encode(request).finish());
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(message.length, 1);
  const session = connectHttp2('http://localhost', { createConnection: () => connect(socketPath) });
  try {
    return await new Promise((resolve) => {
      const failed = (error: Error): void => {
        resolve(`refused the stream: ${error.message}`);
      };
      session.on('error', failed);
      const stream = session.request({
        ':method': 'POST',
        ':path': deviceplugin.RegistrationService.register.path,
        ':authority': authority,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      const status = ({ 'grpc-status': code, 'grpc-message': text }: IncomingHttpHeaders): void => {
        if (typeof code !== 'string') return;
        resolve(code === '0' ? 'OK' : `status ${code}: ${typeof text === 'string' ? decodeURIComponent(text) : ''}`);
      };
      stream.on('error', failed);
      stream.on('response', status);
      stream.on('trailers', status);
      stream.on('close', () => {
        resolve('no answer');
      });
      stream.setTimeout(TIMEOUT_MS, () => {
        resolve('no answer');
      });
      stream.resume();
      stream.end(Buffer.concat([frame, message]));
    });
  } finally {
    session.destroy();
  }
}
