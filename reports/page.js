"use strict";
for (const source of document.querySelectorAll('script[type="application/json"]')) {
  const target = document.getElementById(source.id.replace("figure-", "plot-"));
  const figure = JSON.parse(source.textContent);
  Plotly.newPlot(target, figure.data, figure.layout, {
    displayModeBar: false, responsive: true,
  });
}
for (const table of document.querySelectorAll("table.trials")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => {
      const cell = row.cells[column];
      const text = cell.dataset.value ?? cell.textContent;
      const number = Number(text);
      return text !== "" && !Number.isNaN(number) ? number : text;
    };
    const order = (one, other) => {
      const [a, b] = [key(one), key(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const sign = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return up ? sign : -sign;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(order));
  }));
}
window.addEventListener("beforeprint", () => {
  document.querySelectorAll(".plot").forEach((plot) => plot.data && Plotly.Plots.resize(plot));
});
