// The servers for Node, Bun and Deno: `net.mjs MODE [BACKEND PORT]` prints its port and serves until it is killed.
import net from 'node:net';
import process from 'node:process';

const [mode, backend] = process.argv.slice(2);
const REQUEST = 64;
const PIECE = Buffer.from('sixteen bytes.\r\n');
const PIECES = 32;
const members = new Set();

const listeners = {
  echo(socket) {
    socket.on('data', (chunk) => {
      if (!socket.write(chunk)) socket.pause();
    });
    socket.on('drain', () => socket.resume());
  },
  chatty(socket) {
    let bytes = 0;
    socket.on('data', (chunk) => {
      for (bytes += chunk.length; bytes >= REQUEST; bytes -= REQUEST) {
        for (let piece = 0; piece < PIECES; piece++) socket.write(PIECE);
      }
    });
  },
  broadcast(socket) {
    members.add(socket);
    socket.on('close', () => members.delete(socket));
    socket.on('data', (chunk) => {
      for (const member of members) member.write(chunk);
    });
    socket.write('+');
  },
  proxy(socket) {
    const back = net.connect({ port: Number(backend), host: '127.0.0.1', noDelay: true });
    back.on('error', () => socket.destroy());
    socket.on('error', () => back.destroy());
    socket.pipe(back);
    back.pipe(socket);
  },
};
listeners.churn = listeners.echo;

const server = net.createServer({ noDelay: mode !== 'churn' }, (socket) => {
  socket.on('error', () => {});
  listeners[mode](socket);
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => console.log(server.address().port));
