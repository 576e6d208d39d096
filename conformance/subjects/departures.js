'use strict';
// What sockeye does otherwise on purpose, done to Node's own sockets and servers: whatever else differs still shows.
// Each departure changes one thing, and says when it does. departures.json has the reasons.

const dns = require('node:dns');
const fs = require('node:fs');

module.exports = {
  bad_port: {
    socket(socket, depart) {
      wrap(socket, 'connect', (inner, place) => {
        if (isGood(place)) return inner(place);
        depart();
        throw badPort(place);
      });
    },
    server(server, depart) {
      wrap(server, 'listen', (inner, place) => {
        if (isGood(place)) return inner(place);
        depart();
        throw badPort(place);
      });
    },
  },

  closed_when_written: {
    socket(socket, depart) {
      let isSoon = false;
      socket.prependListener('close', () => { isSoon = false; });
      wrap(socket, 'destroySoon', (inner) => {
        isSoon = true;
        return inner();
      });
      wrap(socket, '_reset', (inner) => {
        if (!isSoon || !socket.writableFinished) return inner();
        depart();
        return socket.destroy();
      });
    },
  },

  connect_again: {
    socket(socket, depart) {
      let isClosed = false;
      socket.prependListener('close', () => { isClosed = true; });
      wrap(socket, 'connect', (inner, place) => {
        const isOpen = !socket.destroyed && (socket.connecting || socket._handle);
        if (isGood(place) && (isOpen || socket.destroyed && !isClosed)) {
          depart();
          throw isOpen ? failure('EISCONN', 'connect EISCONN') : destroyed('connect');
        }
        inner(place);
        isClosed = false;
      });
    },
  },

  cork_after_end: {
    socket(socket, depart) {
      wrap(socket, 'cork', (inner) => {
        if (!socket.writableEnded || socket.destroyed) return inner();
        depart();
      });
    },
  },

  cut_off_write: {
    socket(socket, depart) {
      wrap(socket, '_writeGeneric', (inner, writev, data, encoding, callback) => {
        let isLater = false;
        inner(writev, data, encoding, (error) => {
          if (error || !isLater || !socket.destroyed) return callback(error);
          depart();
          socket.cutOff = socket.errored ?? destroyed('write');
          callback(null);
          socket.cutOff = null;
        });
        isLater = true;
      });
    },
  },

  end_before_connect: {
    socket(socket, depart) {
      let hasEnded = false;
      wrap(socket, '_final', (inner, callback) => {
        if (!socket.pending || socket.connecting) return inner(callback);
        hasEnded = true;
      });
      wrap(socket, 'connect', (inner, place) => {
        const isEnded = hasEnded && !socket.destroyed;
        if (hasEnded) depart();
        hasEnded = false;
        inner(place);
        if (isEnded) socket.end();
      });
    },
  },

  fresh_life: {
    socket(socket, depart) {
      wrap(socket, 'connect', (inner, place) => {
        if (!socket.destroyed) return inner(place);
        depart();
        while (socket.writableCorked > 0) socket.uncork();
        socket._writableState.needDrain = false;
        socket._pendingData = null;
        socket.resetAndClosing = false;
        // It has left its server's count once.
        socket.server = socket._server = null;
        while (socket.listeners('finish').includes(socket.destroy)) socket.removeListener('finish', socket.destroy);
        for (const listener of socket.rawListeners('connect')) {
          if (!socket.ownListeners.has(listener)) socket.removeListener('connect', listener);
        }
        inner(place);
        if (socket.timeout > 0) socket.setTimeout(socket.timeout);
      });
    },
  },

  listen_at_once: {
    server(server, depart) {
      wrap(server, 'listen', (inner, place) => {
        const { lookup } = dns;
        // Places are literal addresses.
        dns.lookup = (address, callback) => {
          depart();
          callback(null, address, 4);
        };
        try {
          inner(place);
        } finally {
          dns.lookup = lookup;
        }
      });
    },
  },

  listening_once: {
    server(server, depart) {
      let closes = 0;
      let forgottenBy = 0;
      wrap(server, 'close', (inner, callback) => {
        closes += 1;
        const close = closes;
        forgottenBy = close;
        // What was to be told in the turn of the close comes before this.
        process.nextTick(() => { if (forgottenBy === close) forgottenBy = 0; });
        return inner(callback);
      });
      wrap(server, 'emit', (inner, event, ...args) => {
        if (event !== 'listening' || forgottenBy === 0) return inner(event, ...args);
        forgottenBy = 0;
        depart();
        return false;
      });
    },
  },

  no_read_ahead: {
    socket(socket, depart) {
      const canRead = () => socket._handle && !socket.connecting && !socket.destroyed && !socket._readableState.ended;
      wrap(socket, 'pause', (inner) => {
        inner();
        if (canRead()) {
          depart();
          socket._handle.reading = false;
          socket._handle.readStop();
        }
      });
      wrap(socket, 'resume', (inner) => {
        inner();
        if (canRead() && !socket._handle.reading) {
          socket._handle.reading = true;
          socket._handle.readStart();
        }
      });
      wrap(socket, '_read', (inner, size) => {
        if (!socket.isPaused()) return inner(size);
        depart();
      });
      let isSoon = false;
      socket.prependListener('close', () => { isSoon = false; });
      wrap(socket, 'destroySoon', (inner) => {
        isSoon = true;
        return inner();
      });
      wrap(socket, 'destroy', (inner, error) => {
        // A FIN is what the peer sees first, if what nobody read does not make a reset of the close.
        const { finalCalled, length } = socket._writableState;
        const isTcp = socket._handle?.getsockname !== undefined;
        if (socket._handle && finalCalled && length === 0 && (isSoon || isTcp)) readError(socket._handle.fd);
        return inner(error);
      });
    },
  },

  refused_close: {
    server(server, depart) {
      wrap(server, 'close', (inner, callback) => {
        if (server._handle) return inner(callback);
        depart();
        process.nextTick(callback, failure('ERR_SERVER_NOT_RUNNING', 'Server is not running.'));
        return inner();
      });
    },
  },

  refused_write: {
    socket(socket, depart) {
      wrap(socket, '_writeGeneric', (inner, writev, data, encoding, callback) => {
        inner(writev, data, encoding, (error) => {
          const isRefused = error?.code === 'ERR_SOCKET_CLOSED_BEFORE_CONNECTION' && socket.errored;
          if (isRefused) depart();
          callback(isRefused ? socket.errored : error);
        });
      });
    },
  },

  reset_after_end: {
    socket(socket, depart) {
      let sendFin = null;
      wrap(socket, '_final', (inner, callback) => {
        if (socket.pending) return inner(callback);
        sendFin = inner;
        process.nextTick(() => {
          sendFin = null;
          if (socket.destroyed) callback();
          else inner(callback);
        });
      });
      wrap(socket, '_reset', (inner) => {
        if (sendFin === null || socket.destroyed) return inner();
        depart();
        const handle = socket._handle;
        let onClosed;
        handle.close = (callback) => { onClosed = callback; };
        sendFin(() => handle.reset(onClosed));
        return socket.destroy();
      });
    },
  },

  reset_behind_data: {
    socket(socket, depart) {
      wrap(socket, 'push', (inner, chunk, encoding) => {
        const code = chunk === null && socket._handle ? readError(socket._handle.fd) : null;
        if (code !== 'ECONNRESET') return inner(chunk, encoding);
        depart();
        // What closes behind its last write reads no more.
        if (socket.listeners('finish').includes(socket.destroy)) return false;
        socket.destroy(Object.assign(failure(code, `read ${code}`), { errno: -104, syscall: 'read' }));
        return false;
      });
    },
  },

  signal_later: {
    server(server, depart) {
      wrap(server, 'listen', (inner, place) => {
        if (!place.signal) return inner(place);
        const later = new AbortController();
        place.signal.addEventListener('abort', () => {
          depart();
          setImmediate(() => later.abort());
        });
        return inner({ ...place, signal: later.signal });
      });
    },
  },

  told_by_write: {
    socket(socket, depart) {
      let look = () => {};
      wrap(socket, '_writeGeneric', (inner, writev, data, encoding, callback) => {
        if (!writev || socket.connecting || !socket._handle) return inner(writev, data, encoding, callback);
        const handle = socket._handle;
        const base = handle.bytesWritten;
        let end = 0;
        const entries = data.map((entry) => {
          const { callback } = entry;
          const known = { end: end += entry.chunk.length, isTold: false, callback };
          entry.callback = (error) => {
            if (known.isTold) return;
            known.isTold = true;
            callback(error);
          };
          return known;
        });
        inner(writev, data, encoding, (error) => {
          look = () => {};
          callback(error);
        });
        look = () => {
          const out = handle.bytesWritten - handle.writeQueueSize - base;
          for (const known of entries.filter((entry) => !entry.isTold && entry.end <= out)) {
            depart();
            known.isTold = true;
            known.callback(null);
          }
        };
        const lookAgain = () => {
          look();
          if (!socket.destroyed && entries.some((entry) => !entry.isTold)) setImmediate(lookAgain);
        };
        process.nextTick(lookAgain);
      });
      wrap(socket, 'destroy', (inner, error) => {
        look();
        return inner(error);
      });
    },
  },

  written_first: {
    socket(socket, depart, react) {
      let isTelling = false;
      const tellConnect = () => {
        if (isTelling) react();
        isTelling = false;
      };
      socket.removeListener('connect', react);
      wrap(socket, 'emit', (inner, event, ...args) => {
        if (event === 'connect') {
          if (socket.listenerCount('connect') > socket.ownListeners.size - 1) depart();
          isTelling = true;
          inner(event, ...args);
          tellConnect();
          return true;
        }
        if (event !== 'drain' || !isTelling) return inner(event, ...args);
        // Its turn comes when whoever listens to 'connect' has had theirs.
        tellConnect();
        return socket.destroyed || socket.writableEnded ? false : inner(event, ...args);
      });
    },
  },

  zero_connections: {
    server(server, depart) {
      let limit;
      Object.defineProperty(server, 'maxConnections', {
        get: () => limit,
        set(value) {
          if (value === 0) depart();
          // Of no connections, there are more than this.
          limit = value === 0 ? -1 : value;
        },
      });
    },
  },
};

// Puts `outer` around a method: it is given what it stands around, then the arguments.
function wrap(object, method, outer) {
  const inner = object[method];
  object[method] = (...args) => outer((...others) => inner.apply(object, others), ...args);
}

// Reads until there is nothing more. The error that ends it, if it is not the end.
function readError(fd) {
  const buffer = Buffer.alloc(65536);
  try {
    while (fs.readSync(fd, buffer) > 0);
    return null;
  } catch (error) {
    return error.code;
  }
}

function isGood({ port, path }) {
  return path !== undefined || port >= 0 && port < 65536;
}

function badPort({ port }) {
  return failure('ERR_SOCKET_BAD_PORT', `Port should be >= 0 and < 65536. Received ${port}.`);
}

function destroyed(method) {
  return failure('ERR_STREAM_DESTROYED', `Cannot call ${method} after a stream was destroyed`);
}

function failure(code, message) {
  return Object.assign(new Error(message), { code });
}
