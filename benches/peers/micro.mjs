// What micro.rs measures, on Node, Bun and Deno: `micro.mjs blocklist --size RULES` or `micro.mjs is-ip`.
import net from 'node:net';
import process from 'node:process';

const [what, , size] = process.argv.slice(2);
const QUERIES = 1024;
let sink = 0;

// Nanoseconds of one call, over a tenth of a second or at least three calls of `run`, which makes `calls` of them.
function time(calls, run) {
  const limit = 100;
  let rounds = 0;
  const start = performance.now();
  let elapsed = 0;
  do {
    run(rounds++);
    elapsed = performance.now() - start;
  } while (elapsed < limit || rounds < 3);
  return (elapsed * 1e6) / (rounds * calls);
}

// The dotted form of 10.0.0.0 plus `offset`.
function address(offset) {
  return `10.${(offset >>> 16) & 255}.${(offset >>> 8) & 255}.${offset & 255}`;
}

function blockList(count) {
  const rules = [];
  for (let rule = 0; rule < count; rule++) rules.push([address(rule * 16), address(rule * 16 + 3), rule % 4]);
  let list;
  const build = () => {
    list = new net.BlockList();
    for (const [first, last, kind] of rules) {
      if (kind === 2) list.addRange(first, last);
      else if (kind === 3) list.addSubnet(first, 30);
      else list.addAddress(first);
    }
  };
  // A list of a million rules is built once.
  let build_ns;
  if (count > 10_000) {
    const start = performance.now();
    build();
    build_ns = ((performance.now() - start) * 1e6) / count;
  } else {
    build_ns = time(count, build);
  }
  let state = 1;
  const queries = Array.from({ length: QUERIES }, (_, index) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return address((state % count) * 16 + (index % 2) * 8);
  });
  const parsed = queries.map((text) => new net.SocketAddress({ address: text }));
  const check = (of) => {
    const one = (index) => {
      const isBlocked = list.check(of[index % QUERIES]);
      if (isBlocked !== (index % 2 === 0)) throw new Error(`wrong answer for ${queries[index % QUERIES]}`);
    };
    // One call at a time where a thousand would take too long.
    if (count > 10_000) return time(1, one);
    return time(QUERIES, () => {
      for (let index = 0; index < QUERIES; index++) one(index);
    });
  };
  return { build_ns, check_ns: check(queries), check_parsed_ns: check(parsed) };
}

function isIp() {
  const over = (texts) =>
    time(texts.length * 256, () => {
      for (let round = 0; round < 256; round++) for (const text of texts) sink += net.isIP(text);
    });
  const ipv4 = ['127.0.0.1', '10.0.0.1', '192.168.100.200', '255.255.255.255'];
  const ipv6 = ['::1', 'fe80::1', '2001:db8:85a3::8a2e:370:7334', '2001:db8:1:2:3:4:5:6'];
  const neither = ['localhost', '127.000.000.001', 'example.com', '2001:db8::g'];
  over(ipv4);
  return { ipv4_ns: over(ipv4), ipv6_ns: over(ipv6), neither_ns: over(neither) };
}

const sample = what === 'is-ip' ? isIp() : blockList(Number(size));
if (sink < 0) throw new Error('never');
console.log(JSON.stringify(sample));
