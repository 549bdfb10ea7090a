// trips: asks the weather and the guide at the same time, and makes one answer of both. Node, no packages.
'use strict';
const http = require('node:http');

const { PORT, WEATHER_URL, GUIDE_URL } = process.env;
// What lets one request be followed, and its deadline kept, through all that it causes.
const PASSED_ON = ['traceparent', 'tracestate', 'x-request-id', 'weft-deadline'];

function answer(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value) + '\n');
}

async function trip(city, incoming) {
  const headers = Object.fromEntries(PASSED_ON.filter((name) => incoming[name]).map((name) => [name, incoming[name]]));
  const ask = (url) => fetch(url, { headers, signal: AbortSignal.timeout(5000) });
  const [weather, guide] = await Promise.all([
    ask(`${WEATHER_URL}/weather/${encodeURIComponent(city)}`),
    ask(`${GUIDE_URL}/guides/${encodeURIComponent(city)}`),
  ]);
  for (const part of [weather, guide]) {
    if (!part.ok) {
      const detail = (await part.text()).trim();
      return [part.status === 404 ? 404 : 502, { detail: `no trip to ${city}: ${detail}`, by: 'node' }];
    }
  }
  return [200, { city, weather: await weather.json(), guide: await guide.json(), by: 'node' }];
}

const server = http.createServer(async (request, response) => {
  const [, kind, city] = new URL(request.url, 'http://trips').pathname.split('/');
  if (kind === 'healthz') return answer(response, 200, { status: 'ok' });
  if (request.method !== 'GET' || kind !== 'trips' || !city) return answer(response, 404, { detail: 'no such operation' });
  try {
    answer(response, ...(await trip(decodeURIComponent(city), request.headers)));
  } catch (error) {
    answer(response, 502, { detail: String(error.cause || error), by: 'node' });
  }
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`trips listens on ${PORT}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
