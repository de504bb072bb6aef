// Sends a request of the page, to the server that the page is from and to no other.
"use strict";
for (const form of document.querySelectorAll("form[data-path]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const shown = form.querySelector("pre");
    const headers = {};
    const key = document.getElementById("key");
    if (key && key.value) headers["X-API-Key"] = key.value;
    let path = form.dataset.path;
    for (const input of form.querySelectorAll("input[data-place]")) {
      path = path.replace(`{${input.dataset.place}}`, encodeURIComponent(input.value));
    }
    const body = form.querySelector("textarea");
    if (body) headers["Content-Type"] = "application/json";
    try {
      const answer = await fetch(path, { method: form.dataset.method, headers, body: body ? body.value : undefined });
      shown.textContent = `${answer.status} ${answer.statusText}\n${await answer.text()}`;
    } catch (error) {
      shown.textContent = `no answer: ${error.message}`;
    }
  });
}
