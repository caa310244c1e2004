"use strict";
// Search, filter and order the studies of one page of the overview.
(() => {
  const body = document.querySelector("#studies tbody");
  const rows = [...body.rows];
  const [search, show, order, shown] = ["search", "show", "order", "shown"].map((id) => document.getElementById(id));
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const count = (row, grade) => Number(row.dataset[grade]);
  const name = (row) => row.cells[0].textContent.trim();

  const kept = {
    all: () => true,
    severe: (row) => count(row, "severe") > 0,
    moderate: (row) => count(row, "severe") + count(row, "moderate") > 0,
    check: (row) => "check" in row.dataset,
  };
  const orders = {
    order: (a, b) => rows.indexOf(a) - rows.indexOf(b),
    worst: (a, b) => count(b, "severe") - count(a, "severe") || count(b, "moderate") - count(a, "moderate"),
    name: (a, b) => name(a).localeCompare(name(b), undefined, { numeric: true }),
  };

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let number = 0;
    for (const row of rows) {
      row.hidden = !kept[show.value](row) || !words.every((word) => texts.get(row).includes(word));
      number += !row.hidden;
    }
    shown.textContent = `${number} of ${rows.length} studies on this page`;
  }

  search.addEventListener("input", filter);
  show.addEventListener("change", filter);
  order.addEventListener("change", () => body.append(...[...rows].sort(orders[order.value])));
  document.getElementById("controls").hidden = false;
  filter();
})();
