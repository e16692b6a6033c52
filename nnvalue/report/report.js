"use strict";
(() => {
  const all = (query, root = document) => Array.from(root.querySelectorAll(query));
  const root = document.documentElement;

  // The theme: the system's until somebody asks for the other one; files may have no storage, and need none.
  const button = document.getElementById("theme");
  const store = { get() { try { return localStorage.getItem("nnvalue-theme"); } catch { return null; } },
    set(name) { try { localStorage.setItem("nnvalue-theme", name); } catch { /* for this visit, then */ } } };
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const tell = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Show in ${dark() ? "light" : "dark"} colours`); };
  const known = store.get();
  if (known === "light" || known === "dark") root.dataset.theme = known;
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; store.set(root.dataset.theme); tell(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  tell();

  // What a mark says: pointed at, or reached with arrow keys, in a line below the figure.
  for (const plot of all(".plot")) {
    const readout = plot.parentElement.querySelector(".readout");
    const marks = all(".m", plot);
    if (!marks.length) continue;
    let at = -1;
    // Its room is kept free, so that nothing below jumps; on a phone that would be an empty box as tall as the figure.
    const wide = (Math.min(736, plot.clientWidth || 736) - 24) / 7.4; // letters in a line, at least
    const lines = (told) => told.split("\n").reduce((sum, one) => sum + Math.ceil(one.length / wide), 0);
    if (wide > 60) readout.style.minHeight = `calc(${Math.max(...marks.map((mark) => lines(mark.querySelector("title").textContent)))} * 1.55em + .8rem)`;
    readout.textContent = "Point at a mark for its figures.";
    readout.hidden = false;
    const show = (number) => {
      if (at >= 0) marks[at].classList.remove("here");
      at = number;
      marks[at].classList.add("here");
      readout.textContent = marks[at].querySelector("title").textContent;
    };
    plot.addEventListener("pointerover", (event) => {
      const mark = event.target.closest(".m");
      if (mark) show(marks.indexOf(mark));
    });
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const end = { Home: 0, End: marks.length - 1 }[event.key];
      if (step === undefined && end === undefined) return;
      event.preventDefault();
      show(end !== undefined ? end : Math.min(marks.length - 1, Math.max(0, at + step)));
      marks[at].scrollIntoView({ block: "nearest", inline: "nearest" });
    });
  }

  // What is wider than its place fades at its right end, and says so, until it is scrolled there.
  for (const one of all(".scroll")) {
    const look = () => {
      const more = one.scrollWidth - one.clientWidth - one.scrollLeft > 4;
      one.classList.toggle("more", more);
      one.previousElementSibling.hidden = one.scrollWidth - one.clientWidth <= 4;
    };
    new ResizeObserver(look).observe(one);
    one.addEventListener("scroll", look, { passive: true });
  }

  // Fields in which one types: rows of a table, or answers.
  const wire = (field, items, after) => {
    const line = field.closest(".filter");
    const output = line.querySelector("output");
    const texts = items.map((item) => item.textContent.toLowerCase());
    line.hidden = false;
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      items.forEach((item, number) => {
        const hit = words.every((word) => texts[number].includes(word));
        item.hidden = !hit;
        count += hit;
      });
      output.textContent = words.length ? `${count} of ${items.length}` : "";
      if (after) after(words.length > 0);
    });
  };
  for (const field of all("[data-filter]")) {
    wire(field, all("tbody tr", document.getElementById(field.dataset.filter)));
  }
  for (const field of all("[data-texts]")) {
    const groups = all("details", field.closest(".texts"));
    wire(field, all(".exchange", field.closest(".texts")), (searching) => {
      field.closest(".texts").querySelector(".all").hidden = searching;
      for (const group of groups) {
        const left = all(".exchange:not([hidden])", group).length;
        group.hidden = searching && !left;
        group.open = searching && left > 0;
      }
    });
  }

  // A link into something closed opens it; so does printing.
  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  };
  addEventListener("hashchange", open);
  open();
  let closed = [];
  addEventListener("beforeprint", () => { closed = all("details:not([open])"); for (const one of closed) one.open = true; });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });

  // Where in the page one is.
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((seen) => {
    for (const one of seen) if (one.isIntersecting) {
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(one.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const id of links.keys()) watch.observe(document.getElementById(id));
})();
