// Tables sort by the buttons in their headers: numbers by value, what has none last.
for (const table of document.querySelectorAll("table.sort")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => row.cells[column].textContent.trim();
    const order = (a, b) => {
      const x = value(a), y = value(b), p = parseFloat(x), q = parseFloat(y);
      if (isNaN(p) !== isNaN(q)) return isNaN(p) ? 1 : -1;
      return (up ? 1 : -1) * (isNaN(p) ? x.localeCompare(y) : p - q);
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}

// Samples: a block of JSON is parsed when its samples are wanted, not before, and 25 are shown at a time.
const pick = document.getElementById("pick"), only = document.getElementById("only"), list = document.getElementById("samples");
const more = document.getElementById("more"), seen = document.getElementById("seen"), SIZE = 25;
const wanted = {
  all: () => true,
  right: sample => sample[1],
  wrong: sample => !sample[1],
  "no answer": sample => sample[5] === null,
};
let blocks = [], total = 0, found = [], shown = 0, block = 0;

function add(parent, tag, text, kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = kind;
  parent.append(made);
}

function next() {
  const keep = wanted[only.value];
  for (const most = shown + SIZE; found.length < most && block < blocks.length; block++)
    found.push(...JSON.parse(document.getElementById(blocks[block]).textContent).filter(keep));
  for (const [question, right, tokens, why, gold, answer, text] of found.slice(shown, shown + SIZE)) {
    const box = document.createElement("div"), head = document.createElement("div");
    box.className = "sample";
    add(head, "span", right ? "right" : "wrong", `v ${right ? "reproduced" : "contradicted"}`);
    const parts = [question, `expected ${gold}`, answer === null ? "no answer found" : `found ${answer}`, `${tokens} tokens`];
    add(head, "span", ` ${[...parts, ...(why ? [why] : [])].join(" \u00b7 ")}`);
    box.append(head);
    add(box, "pre", text);
    list.append(box);
  }
  shown = Math.min(found.length, shown + SIZE);
  more.hidden = shown >= found.length && block >= blocks.length;
  seen.textContent = only.value === "all" ? `${shown} of ${total} shown` : `${shown} shown (${only.value}), of ${total} samples`;
}

function choose() {
  const option = pick.selectedOptions[0];
  [blocks, total, found, shown, block] = [option.value.split(" "), option.dataset.total, [], 0, 0];
  list.replaceChildren();
  next();
}

if (pick) {
  pick.addEventListener("change", choose);
  only.addEventListener("change", choose);
  more.addEventListener("click", next);
  choose();
}
