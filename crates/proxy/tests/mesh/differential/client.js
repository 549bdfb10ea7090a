// Node's own client: asks for each number up to the one given, each on a connection of its own, and says what it read.
'use strict';
const http = require('node:http');

const [port, methods] = [Number(process.argv[2]), process.argv[3].split(',')];

function ask(number) {
  if (number === methods.length) return;
  let said = false;
  const say = (what) => {
    if (said) return;
    said = true;
    process.stdout.write(JSON.stringify(what) + '\n');
    ask(number + 1);
  };
  const options = { host: '127.0.0.1', port, method: methods[number], path: `/${number}`, agent: false };
  const request = http.request(options, (response) => {
    let sum = 0x811c9dc5;
    let bytes = 0;
    response.on('data', (data) => {
      bytes += data.length;
      for (const byte of data) sum = Math.imul(sum ^ byte, 0x01000193) >>> 0;
    });
    response.on('close', () => say({ status: response.statusCode, bytes, sum, whole: response.complete }));
    response.on('error', () => {});
  });
  request.on('error', (error) => say({ status: 0, bytes: 0, sum: 0, whole: false, error: String(error) }));
  request.end();
}
ask(0);
