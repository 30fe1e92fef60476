// Connections of Node's own HTTP/2 client, each with as many requests at once. They are opened again when they end.
// node at_once.js URL PATH CONNECTIONS AT_ONCE ANSWER_SIZE BODY_SIZE
// writes what it has counted, a JSON line each 50 ms. Once its stdin ends it finishes what is in progress, and ends.
const http2 = require("http2");

const [url, path, connections, atOnce, answerSize, bodySize] = [...process.argv.slice(2, 4), ...process.argv.slice(4).map(Number)];
const counts = { connections: 0, sent: 0, answered: 0, again: 0, lost: [] };
const body = Buffer.alloc(bodySize, "x");
let stopping = false;

function connect() {
  if (stopping) return;
  const session = http2.connect(url);
  let last = Infinity; // the last request that the server serves, as its GOAWAY said
  session.on("goaway", (code, number) => { last = number; });
  session.on("error", () => {});
  session.on("close", connect);
  session.on("connect", () => {
    counts.connections++;
    for (let n = 0; n < atOnce; n++) ask(session, () => last);
  });
}

function ask(session, last) {
  if (session.closed || session.destroyed || last() !== Infinity) return;
  if (stopping) return session.close();
  const stream = session.request({ ":method": bodySize ? "POST" : "GET", ":path": path });
  let status = 0, size = 0, whole = false, unsent = false, failure = null;
  stream.on("response", (headers) => { status = headers[":status"]; });
  stream.on("data", (data) => { size += data.length; });
  stream.on("end", () => { whole = true; });
  stream.on("frameError", () => { unsent = true; }); // it never left this machine
  stream.on("error", (error) => { failure = error; });
  stream.on("close", () => {
    if (!unsent && stream.id !== undefined) {
      counts.sent++;
      if (status === 200 && whole && size === answerSize && !failure) counts.answered++;
      else if (stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM || stream.id > last()) counts.again++;
      else counts.lost.push(`${stream.id}: ${status}, ${size} bytes, ${stream.rstCode} ${failure}; last ${last()}`);
    }
    ask(session, last);
  });
  if (bodySize) stream.end(body);
}

for (let n = 0; n < connections; n++) connect();
const report = setInterval(() => console.log(JSON.stringify(counts)), 50);
process.on("beforeExit", () => console.log(JSON.stringify(counts)));
process.stdin.on("end", () => {
  stopping = true;
  clearInterval(report);
});
process.stdin.resume();
