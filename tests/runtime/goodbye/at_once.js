// Connections of Node's own HTTP/2 client, each with as many requests at once. They are opened again when they end.
// node at_once.js URL CONNECTIONS AT_ONCE BODY_SIZE
// writes what it has counted, a JSON line each 50 ms, until its stdin ends. `unsent` never left this machine.
const http2 = require("http2");

const [url, connections, atOnce, size] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const counts = { answered: 0, again: 0, unsent: 0, lost: [] };
const body = Buffer.alloc(size, "x");
let stopping = false;

function connect() {
  if (stopping) return;
  const session = http2.connect(url, { rejectUnauthorized: false });
  let last = Infinity; // the last request that the server serves, as its GOAWAY said
  session.on("goaway", (code, number) => { last = number; });
  session.on("error", () => {});
  session.on("close", connect);
  session.on("connect", () => { for (let n = 0; n < atOnce; n++) ask(session, () => last); });
}

function ask(session, last) {
  if (session.closed || session.destroyed || last() !== Infinity) return;
  if (stopping) return session.close();
  const stream = session.request({ ":method": size ? "POST" : "GET", ":path": "/" });
  let status = 0, whole = false, failure = null;
  stream.on("response", (headers) => { status = headers[":status"]; });
  stream.on("end", () => { whole = true; });
  let unsent = false;
  stream.on("frameError", () => { unsent = true; });
  stream.on("error", (error) => { failure = error; });
  stream.on("close", () => {
    if (status === 200 && whole && !failure) counts.answered++;
    else if (unsent || stream.id === undefined) counts.unsent++;
    else if (stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM || stream.id > last()) counts.again++;
    else counts.lost.push(`${stream.id} ${status} ${stream.rstCode} ${failure} last ${last()}`);
    ask(session, last);
  });
  stream.resume();
  if (size) stream.end(body);
}

for (let n = 0; n < connections; n++) connect();
const report = setInterval(() => console.log(JSON.stringify(counts)), 50);
process.stdin.on("end", () => {
  stopping = true;
  setTimeout(() => {
    clearInterval(report);
    console.log(JSON.stringify(counts));
    process.exit();
  }, 1000); // for what is in progress
});
process.stdin.resume();
