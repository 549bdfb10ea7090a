// Node's own server, as a service that says what it was asked: one line of JSON for each whole request, then an answer
// without a body. One port for each way that leads here; the first line names them.
'use strict';
const http = require('node:http');

const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const ways = Number(process.argv[2]);
const ports = new Array(ways);

for (let way = 0; way < ways; way += 1) {
  const server = http.createServer((request, response) => {
    let sum = 0x811c9dc5;
    let bytes = 0;
    request.on('data', (data) => {
      bytes += data.length;
      for (const byte of data) sum = Math.imul(sum ^ byte, 0x01000193) >>> 0;
    });
    request.on('end', () => {
      say({ way, method: request.method, target: request.url, host: request.headers.host ?? '', bytes, sum,
        fields: request.rawHeaders, trailers: request.rawTrailers });
      response.writeHead(200, { 'content-length': 0 });
      response.end();
    });
  });
  server.on('clientError', (error, socket) => {
    process.stderr.write(`way ${way}: ${error.code} ${error.message}\n`);
    socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  });
  Object.assign(server, { keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0, maxHeadersCount: 0 });
  server.listen(0, '127.0.0.1', () => {
    ports[way] = server.address().port;
    if (!ports.includes(undefined)) say({ ports: [...ports] });
  });
}
process.stdin.resume().on('end', () => process.exit());
