"use strict";
// Shows the caller's own document. The token lives in this page's memory and in request headers, nowhere else.
(() => {
  const at = (id) => document.getElementById(id);
  const main = at("docs");
  const language = document.documentElement.lang.startsWith("zh") ? "zh" : "en";
  let token = "";

  const headers = () => {
    const given = { "Accept-Language": language };
    if (token) given.Authorization = `Bearer ${token}`;
    return given;
  };

  const told = (text) => {
    const shown = document.createElement("p");
    shown.textContent = text;
    main.replaceChildren(shown);
  };

  const asked = async (address) => {
    const answer = await fetch(address, { headers: headers(), credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  };

  const links = (version) => {
    const box = at("links");
    box.querySelectorAll("button").forEach((one) => one.remove());
    for (const [word, address] of Object.entries(version.formats)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = word;
      button.addEventListener("click", () => saved(address));
      box.append(button);
    }
  };

  const saved = async (address) => {
    const answer = await fetch(address, { headers: headers(), credentials: "same-origin" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = address.split("/").pop();
    link.click();
    URL.revokeObjectURL(link.href);
  };

  const show = async (version) => {
    const spec = await asked(version.formats.openapi);
    links(version);
    window.SwaggerUIBundle({
      spec,
      domNode: main,
      deepLinking: false,
      validatorUrl: null,
      persistAuthorization: false,
      requestInterceptor: (request) => {
        if (token && !request.headers.Authorization) request.headers.Authorization = `Bearer ${token}`;
        const wished = request.headers.Prefer || "";
        if (at("mock").checked && !/\bmock\b/.test(wished)) {
          request.headers.Prefer = wished ? `${wished}, mock` : "mock";
        }
        return request;
      },
    });
  };

  const begin = async () => {
    const choice = at("version");
    const { versions } = await asked("/openapi");
    choice.replaceChildren(...versions.map((one) => new Option(one.version)));
    if (!versions.length) {
      told(main.dataset.none);
      return;
    }
    choice.value = versions[versions.length - 1].version;
    choice.onchange = () => show(versions.find((one) => one.version === choice.value)).catch(failed);
    await choice.onchange();
  };

  const failed = (error) => told(`${error.message === "401" ? main.dataset.none : main.dataset.failed} (${error.message})`);

  at("who").addEventListener("submit", (event) => {
    event.preventDefault();
    token = at("token").value.trim();
    begin().catch(failed);
  });
  begin().catch(failed);
})();
