import { Buffer } from 'node:buffer';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { RpcCode, RpcError, deviceplugin } from '@devmgr/wire';
import { Gadget } from '../gadget.js';

const { DevicePluginService, RegistrationService } = deviceplugin;

/** One unary call by hand, with an :authority of the caller's choice. */
function callWithAuthority(socketPath, authority, method, request) {
  const body = method.requestSerialize(request);
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(body.length, 1);
  const session = connectHttp2('http://localhost', { createConnection: () => connect(socketPath) });
  return new Promise((resolve, reject) => {
    session.once('error', reject);
    const call = session.request({
      ':method': 'POST',
      ':path': method.path,
      ':authority': authority,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const judge = (headers) => {
      if (headers['grpc-status'] === '0') resolve();
      else if (headers['grpc-status'] !== undefined) reject(new Error(headers['grpc-message']));
    };
    call.once('error', reject).once('response', judge).once('trailers', judge);
    call.once('close', () => reject(new Error('no status'))).resume();
    call.end(Buffer.concat([frame, body]));
  }).finally(() => session.destroy());
}

class OtherOptionsLater extends Gadget {
  heard = new Set();

  answerOptions(context) {
    const options = super.answerOptions(context);
    if (this.heard.has(context.connection)) return { ...options, preStartRequired: !options.preStartRequired };
    this.heard.add(context.connection);
    return options;
  }
}

/** Decodes by hand and knows no field but those of today. */
class StrictDecoder extends Gadget {
  service() {
    const { allocate } = DevicePluginService;
    const requestDeserialize = (bytes) => {
      const request = allocate.requestDeserialize(bytes);
      if (allocate.requestSerialize(request).length !== bytes.length) throw new Error('unknown field');
      return request;
    };
    return { ...DevicePluginService, allocate: { ...allocate, requestDeserialize } };
  }
}

/** Answers whatever is called. */
class AnswersEverything extends Gadget {
  service() {
    const { getDevicePluginOptions } = DevicePluginService;
    const future = { ...getDevicePluginOptions, path: '/v1beta1.DevicePlugin/DevmgrUnknownCall' };
    return { ...DevicePluginService, future };
  }

  handlers() {
    return { ...super.handlers(), future: () => this.unknownCall() };
  }

  unknownCall() {
    throw new RpcError(RpcCode.Internal, 'unexpected call');
  }
}

class OffersNothing extends Gadget {
  options() {
    return { preStartRequired: false, getPreferredAllocationAvailable: false };
  }
}

export const COMPATIBILITY_DEFECTS = {
  'path-as-authority': {
    fails: ['compatibility/authority'],
    Plugin: class extends Gadget {
      async register(request = this.registerRequest()) {
        const path = this.pathOf('kubelet.sock');
        await callWithAuthority(path, path, RegistrationService.register, request);
      }
    },
  },
  'hurried-register': {
    fails: ['compatibility/register-limit'],
    Plugin: class extends Gadget {
      register() {
        return super.register(this.registerRequest(), 5_000);
      }
    },
  },
  'other-options-later': { fails: ['compatibility/options-again'], Plugin: OtherOptionsLater },
  'strict-decoder': { fails: ['compatibility/unknown-fields'], Plugin: StrictDecoder },
  'answers-everything': { fails: ['compatibility/unknown-call'], Plugin: AnswersEverything },
  'crashes-over-an-unknown-call': {
    fails: ['compatibility/unknown-call'],
    Plugin: class extends AnswersEverything {
      unknownCall() {
        this.exit(2);
      }
    },
  },
  'crashes-over-unoffered-preference': {
    fails: ['compatibility/unoffered-preference'],
    Plugin: class extends OffersNothing {
      prefer() {
        throw this.exit(2);
      }
    },
  },
  'crashes-over-unoffered-pre-start': {
    fails: ['compatibility/unoffered-pre-start'],
    Plugin: class extends OffersNothing {
      async preStart() {
        this.exit(2);
      }
    },
  },
};
