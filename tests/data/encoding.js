// Answers the questions of tests/encoding.rs, one per line, with what Node says. Bytes are in hex, texts are UTF-8 in
// hex.
//
//   decode|ENCODING|PIECE,PIECE,...  ->  whole|TEXT,TEXT,...,END|ALL   write() of each piece, end(); toString() of all
//                                    or  torn|TEXT|ALL                 the same joined: a write() gave half a pair
//   encode|ENCODING|TEXT             ->  BYTES
'use strict';
const { StringDecoder } = require('node:string_decoder');

const bytes = (hex) => Buffer.from(hex, 'hex');
// Writing UTF-8 turns a lone surrogate into U+FFFD, which is what sockeye has in its place.
const hex = (text) => Buffer.from(text, 'utf8').toString('hex');

function decode(encoding, list) {
  const pieces = list.split(',').map(bytes);
  const decoder = new StringDecoder(encoding);
  const texts = pieces.map((piece) => decoder.write(piece));
  texts.push(decoder.end());
  const all = hex(Buffer.concat(pieces).toString(encoding));
  if (texts.every((text) => text.isWellFormed())) return `whole|${texts.map(hex)}|${all}`;
  return `torn|${hex(texts.join(''))}|${all}`;
}

function encode(encoding, text) {
  return Buffer.from(bytes(text).toString('utf8'), encoding).toString('hex');
}

const questions = require('node:fs').readFileSync(0, 'utf8').split('\n').filter(Boolean);
const answers = questions.map((question) => {
  const [ask, encoding, rest] = question.split('|');
  return ask === 'decode' ? decode(encoding, rest) : encode(encoding, rest);
});
process.stdout.write(answers.map((answer) => answer + '\n').join(''));
