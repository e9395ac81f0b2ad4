// A script as people wrote it against the original self-serve API: it knows nothing of ours.
//
//   node old_client.js ROOT USER PASSWORD ACT [ARGUMENT ...]
//
// does one act and prints, as JSON, the status, the receipt, and the rows that it finds at the
// revision afterwards, told apart as the original's clients did.
"use strict";

const http = require("http");

const [root, user, password, act, ...given] = process.argv.slice(2);

function send(method, path, fields) {
  return new Promise((resolve, reject) => {
    const body = fields ? new URLSearchParams(fields).toString() : "";
    const request = http.request(root + path, {
      method,
      auth: user + ":" + password,
      headers: {
        Accept: "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": Buffer.byteLength(body),
      },
    }, (response) => {
      let text = "";
      response.on("data", (piece) => { text += piece; });
      response.on("end", () => resolve({status: response.statusCode, json: JSON.parse(text)}));
    });
    request.on("error", reject);
    request.end(body);
  });
}

const seg = encodeURIComponent;
const acts = {
  rebuild_build: (branch, build, count, priority) =>
    send("POST", `/${seg(branch)}/build`, {build_id: build, count, priority}),
  cancel_build: (branch, build) => send("DELETE", `/${seg(branch)}/build/${build}`),
  rebuild_request: (branch, request, count, priority) =>
    send("POST", `/${seg(branch)}/request`, {request_id: request, count, priority}),
  // dashboards could send nothing but GET and POST
  cancel_request: (branch, request) =>
    send("POST", `/${seg(branch)}/request/${request}`, {_method: "DELETE"}),
  reprioritize: (branch, request, priority) =>
    send("POST", `/${seg(branch)}/request/${request}`, {_method: "PUT", priority}),
  new_build_at_revision: (branch, revision) => send("POST", `/${seg(branch)}/rev/${revision}`),
  cancel_revision: (branch, revision) =>
    send("POST", `/${seg(branch)}/rev/${revision}`, {_method: "DELETE"}),
  new_nightly_at_revision: (branch, revision) =>
    send("POST", `/${seg(branch)}/rev/${revision}/nightly`, {}),
  new_pgobuild_at_revision: (branch, revision) =>
    send("POST", `/${seg(branch)}/rev/${revision}/pgo`, {}),
  new_build_for_builder: (branch, builder, revision) =>
    send("POST", `/${seg(branch)}/builders/${seg(builder)}/${revision}`, {
      properties: JSON.stringify({branch, revision, level: 3}),
      files: JSON.stringify(["http://example.org/installer.zip"]),
    }),
};

(async () => {
  const {status, json: receipt} = await acts[act](...given);
  const {json: job} = await send("GET", `/jobs/${receipt.request_id}?format=json`);
  const {json: rows} = await send("GET", `/${seg(given[0])}?format=json`);
  const states = {};
  for (const row of rows) {
    const name = "build_id" in row ? row.requests[0].request_id : row.request_id;
    if (!("status" in row) && !("endtime" in row)) states[name] = "pending";
    else if (row.endtime === null) states[name] = "running";
    else states[name] = "finished " + row.status;
  }
  console.log(JSON.stringify({status, receipt, job, states}));
})();
