'use strict';
// The subject on node:net. Commands come as lines of JSON on standard input, each is answered by one line.
// Input is read synchronously, so the event loop runs only while the driver asks to settle or to wait.

const fs = require('node:fs');
const net = require('node:net');
const departures = require('./departures.js');

const QUIET_TURNS = 6;
const MAX_BUSY_MS = 2000;

let world = null;
let activity = 0;

process.on('uncaughtException', (error) => record({ who: 'process', ev: 'uncaught', message: String(error.stack) }));
setImmediate(serve);

function serve() {
  for (;;) {
    const line = readLine();
    if (line === null) process.exit(0);
    const command = JSON.parse(line);
    switch (command.cmd) {
      case 'version': reply({ version: process.versions.node }); break;
      case 'begin': begin(command); reply({}); break;
      case 'do': for (const call of command.calls) perform(call, null, answer); reply({}); break;
      case 'settle': return settle((progress) => { reply({ progress }); setImmediate(serve); });
      case 'elapse': return void setTimeout(() => { reply({}); setImmediate(serve); }, command.ms);
      case 'take': reply({ records: world.records.splice(0), answers: world.answers.splice(0), told: world.told.splice(0), state: snapshots() }); break;
      case 'where': reply(where()); break;
      case 'finish': finish(); return settle(() => { reply({ departed: [...world.departed] }); world = null; setImmediate(serve); });
    }
  }
}

function settle(done) {
  const before = activity;
  const start = Date.now();
  let seen = activity;
  let quiet = 0;
  const turn = () => {
    const busy = isBusy() && Date.now() - start < MAX_BUSY_MS;
    quiet = busy || activity !== seen ? 0 : quiet + 1;
    seen = activity;
    if (quiet >= QUIET_TURNS) done(activity !== before);
    else setImmediate(turn);
  };
  setImmediate(turn);
}

// A lookup takes its time elsewhere.
function isBusy() {
  return world.isListening || world.sockets.some(({ socket, isConnecting }) => isConnecting && socket.connecting && !socket.destroyed);
}

function begin({ isServer, options, reactions, places, departures }) {
  const values = {};
  for (const option of options) {
    const [name, value] = option.split('=');
    values[name] = value === undefined ? true : Number(value);
  }
  const nodeOptions = {
    allowHalfOpen: values.allow_half_open === true,
    highWaterMark: values.high_water_mark ?? 65536,
    pauseOnConnect: values.pause_on_connect === true,
    noDelay: values.no_delay === true,
    keepAlive: values.keep_alive === true,
    keepAliveInitialDelay: values.keep_alive_initial_delay ?? 0,
  };
  const controller = new AbortController();
  if (values.signal && !isServer) nodeOptions.signal = controller.signal;
  world = { controller, onread: values.onread, hasSignal: values.signal, isInOrder: values.in_order, records: [], answers: [], told: [], sockets: [], server: null, isListening: false, reactions, reacted: new Set(), places, departures, departed: new Set(), isOver: false };
  if (isServer) watchServer(net.createServer(nodeOptions));
  else watchSocket(makeSocket(nodeOptions));
}

function makeSocket(options) {
  const here = world;
  if (!here.onread) return new net.Socket(options);
  const buffer = Buffer.alloc(here.onread);
  return new net.Socket({ ...options, onread: { buffer, callback: (length) => void here.onRead(buffer.subarray(0, length)) } });
}

function watchServer(server) {
  world.server = server;
  depart('server', server);
  const tell = (name, ev, extra) => {
    world.isListening = false;
    record({ who: 'server', ev, ...extra });
    react(name, null);
  };
  server.on('listening', () => tell('listening', 'listening'));
  server.on('error', (error) => tell('server_error', 'error', { error: describe(error) }));
  server.on('close', () => tell('server_close', 'close'));
  server.on('drop', (data) => tell('drop', 'drop', data === undefined ? {} : {
    local: [data.localAddress, data.localPort], remote: [data.remoteAddress, data.remotePort],
  }));
  server.on('connection', (socket) => {
    record({ who: 'server', ev: 'connection' });
    react('connection', watchSocket(socket));
  });
}

function watchSocket(socket) {
  const entry = { socket, who: `s${world.sockets.length}`, position: 0, toldWrites: 0, isConnecting: false, hasErred: false };
  world.sockets.push(entry);
  // Node knows the remote address later only if somebody has asked for it.
  void socket.remoteAddress;
  const here = world;
  const tell = (ev, extra) => {
    if (here !== world || here.isOver) return;
    record({ who: entry.who, ev, ...extra });
    react(ev, entry);
  };
  socket.on('lookup', (error, address, family, host) => tell('lookup', { host, address, error: error ? describe(error) : null }));
  socket.on('connect', () => {
    void socket.remoteAddress;
    if (here === world && !here.isOver) record({ who: entry.who, ev: 'connect' });
  });
  const onConnect = () => void (here === world && !here.isOver && react('connect', entry));
  socket.on('connect', onConnect);
  socket.on('connectionAttempt', (address, port) => tell('connectionAttempt', { address, port: port ?? null }));
  socket.on('connectionAttemptFailed', (address, port, family, error) =>
    tell('connectionAttemptFailed', { address, port: port ?? null, error: describe(error) }));
  for (const name of ['ready', 'end', 'drain', 'finish', 'timeout']) socket.on(name, () => tell(name));
  socket.on('error', (error) => {
    entry.hasErred = true;
    tell('error', { error: describe(error) });
  });
  // Without a connection Node passes no argument.
  socket.on('close', (hadError) => tell('close', { hadError: hadError ?? entry.hasErred }));
  const onData = (chunk) => {
    if (here !== world || here.isOver) return;
    recordData(entry.who, chunk);
    react('data', entry);
  };
  // A socket with a buffer has no such event.
  if (here.onread) here.onRead = onData;
  else socket.on('data', onData);
  socket.ownListeners = new Set(socket.rawListeners('connect'));
  depart('socket', socket, onConnect);
  return entry;
}

// Has a socket or server do what this run is to do otherwise than Node.
function depart(kind, object, ...rest) {
  const here = world;
  // The first one in their order stands around the others.
  for (const name of world.departures.toReversed()) departures[name][kind]?.(object, () => here.departed.add(name), ...rest);
}

function react(event, entry) {
  const key = `${entry?.who} ${event}`;
  if (world.isOver || world.reacted.has(key)) return;
  for (const reaction of world.reactions) {
    if (reaction.event !== event) continue;
    world.reacted.add(key);
    for (const call of reaction.calls) perform(call, entry, record);
  }
}

function perform({ target, name, argument }, current, record) {
  const entry = target === 'server' ? null : target === 'this' ? current ?? world.sockets[0] : world.sockets[target];
  const who = entry ? entry.who : 'server';
  if (target === 'server' ? !world.server : !entry) return record({ who: String(target), call: name, result: 'nobody' });
  try {
    const result = entry ? onSocket(entry, name, argument) : onServer(world.server, name, argument);
    if (result !== undefined) record({ who, call: name, result });
  } catch (error) {
    record({ who, call: name, throws: describe(error) });
  }
}

function onSocket(entry, name, argument) {
  const { socket } = entry;
  switch (name) {
    case 'connect':
      // What throws says that it is connecting and is not.
      entry.isConnecting = false;
      socket.connect(connectOptions(world.places[argument ?? 'peer']));
      entry.isConnecting = true;
      entry.hasErred = false;
      entry.position = 0;
      return undefined;
    case 'write': return socket.write(bytes(entry, argument));
    case 'write_told': {
      const here = world;
      const number = entry.toldWrites++;
      socket.write(bytes(entry, argument), (error) => {
        activity++;
        // What a departure says that Node does not.
        error ??= socket.cutOff;
        const told = { who: entry.who, number, error: error ? describe(error) : null };
        (here.isInOrder ? here.records : here.told).push(told);
      });
      return undefined;
    }
    case 'end': return void (argument == null ? socket.end() : socket.end(bytes(entry, argument)));
    case 'destroy': return void socket.destroy();
    case 'destroy_error': return void socket.destroy(Object.assign(new Error('reason'), { code: 'TEST' }));
    case 'destroy_soon': return void socket.destroySoon();
    case 'reset': return void socket.resetAndDestroy();
    case 'pause': return void socket.pause();
    case 'resume': return void socket.resume();
    case 'cork': return void socket.cork();
    case 'uncork': return void socket.uncork();
    case 'set_timeout': return void socket.setTimeout(Number(argument));
    case 'set_encoding': return void socket.setEncoding(argument);
    case 'set_no_delay': return void socket.setNoDelay(argument === 'true');
    case 'set_keep_alive': return void socket.setKeepAlive(argument !== '0', Number(argument));
    case 'address': {
      const { address, port } = socket.address() ?? {};
      return address === undefined ? 'none' : [address, port];
    }
    case 'abort': return void world.controller.abort();
    case 'ref': return void socket.ref();
    case 'unref': return void socket.unref();
  }
}

function connectOptions(place) {
  if (!place.addresses) return place;
  const found = place.addresses.map((address) => ({ address, family: 4 }));
  const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${place.host}`), {
    code: 'ENOTFOUND', syscall: 'getaddrinfo', hostname: place.host,
  });
  const lookup = (host, options, callback) => void setImmediate(() => {
    if (found.length === 0) callback(error);
    else if (options.all) callback(null, found);
    else callback(null, found[0].address, 4);
  });
  return { ...place, lookup };
}

function onServer(server, name, argument) {
  switch (name) {
    case 'listen':
      server.listen({ ...world.places[argument ?? 'free'], signal: world.hasSignal ? world.controller.signal : undefined });
      world.isListening = true;
      return undefined;
    case 'close':
      server.close((error) => {
        activity++;
        world?.told.push({ who: 'server', number: 0, error: error ? describe(error) : null });
      });
      world.isListening = false;
      return undefined;
    case 'max_connections': server.maxConnections = Number(argument); return undefined;
    case 'connections': return void server.getConnections((error, count) => answer({ who: 'server', call: 'connections', result: count }));
    case 'abort': return void world.controller.abort();
    case 'ref': return void server.ref();
    case 'unref': return void server.unref();
  }
}

// Bytes that tell where they belong.
function bytes(entry, count) {
  const buffer = Buffer.allocUnsafe(Number(count));
  for (let i = 0; i < buffer.length; i++) buffer[i] = (entry.position + i) % 251;
  entry.position += buffer.length;
  return buffer;
}

// What the driver's own calls return stands apart: an event that comes inside of a call stays behind it.
function answer(entry) {
  activity++;
  world.answers.push(entry);
}

function record(entry) {
  activity++;
  world?.records.push(entry);
}

// Adjacent data is one record, since how it is cut into chunks is chance.
function recordData(who, chunk) {
  const isText = typeof chunk === 'string';
  const ev = isText ? 'text' : 'data';
  let last = world.records.at(-1);
  if (last?.who !== who || last?.ev !== ev) record(last = { who, ev, len: 0, hash: 0x811c9dc5 });
  activity++;
  last.len += chunk.length;
  for (const byte of isText ? Buffer.from(chunk) : chunk) last.hash = Math.imul(last.hash ^ byte, 0x01000193) >>> 0;
}

function describe(error) {
  const { code, message, syscall, address, port, errno, hostname } = error;
  const errors = error.errors?.map((part) => part.message);
  // For a path Node says port -1.
  return { code, message, syscall, address, port: port === -1 ? undefined : port, errno, hostname, errors };
}

function where() {
  const address = world.server?.listening ? world.server.address() : null;
  return typeof address === 'string' ? { path: address } : { port: address?.port ?? null };
}

function snapshots() {
  const state = world.sockets.map(({ socket, who }) => ({
    who,
    readyState: socket.readyState,
    connecting: socket.connecting,
    pending: socket.pending,
    destroyed: socket.destroyed,
    bytesRead: socket.bytesRead,
    bytesWritten: socket.bytesWritten ?? 0,
    writableLength: socket.writableLength,
    paused: socket.isPaused(),
    timeout: socket.timeout ?? null,
    localAddress: socket.localAddress ?? null,
    localPort: socket.localPort ?? null,
    remoteAddress: socket.remoteAddress ?? null,
    remotePort: socket.remotePort ?? null,
    attempted: socket.autoSelectFamilyAttemptedAddresses ?? null,
  }));
  const { server } = world;
  if (server) {
    const address = server.address();
    state.push({
      who: 'server',
      listening: server.listening,
      connections: server._connections,
      // Of a path Node says it whether or not it listens.
      address: address === null || !server.listening ? null : typeof address === 'string' ? address : [address.address, address.port],
    });
  }
  return state;
}

function finish() {
  world.isOver = true;
  for (const { socket } of world.sockets) socket.destroy();
  if (world.server?.listening) world.server.close();
  world.isListening = false;
}

function reply(answer) {
  const data = Buffer.from(JSON.stringify(answer) + '\n');
  try {
    for (let at = 0; at < data.length;) at += fs.writeSync(1, data, at);
  } catch {
    // The driver is gone.
    process.exit(1);
  }
}

let pendingInput = '';
function readLine() {
  const chunk = Buffer.alloc(65536);
  for (;;) {
    const end = pendingInput.indexOf('\n');
    if (end >= 0) {
      const line = pendingInput.slice(0, end);
      pendingInput = pendingInput.slice(end + 1);
      return line;
    }
    const count = fs.readSync(0, chunk);
    if (count === 0) return null;
    pendingInput += chunk.toString('latin1', 0, count);
  }
}
