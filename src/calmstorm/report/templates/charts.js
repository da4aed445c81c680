(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const colourKeys = new Set(["color", "gridcolor", "bgcolor", "bordercolor", "linecolor", "zerolinecolor", "family"]);
  const axis = { showgrid: false, gridcolor: "--rule", zeroline: false, fixedrange: true, automargin: true, tickfont: { color: "--ink-2" }, ticks: "", ticklabelstandoff: 6 };
  const whiskers = { type: "data", symmetric: false, thickness: 2, width: 4 };
  const traces = {
    bar: { orientation: "h", hoverinfo: "skip" },
    scatter: { cliponaxis: false, hovertemplate: "%{text}<extra></extra>" },
  };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "--font", size: 13, color: "--ink" },
    hoverlabel: { bgcolor: "--raised", bordercolor: "--rule-strong", font: { color: "--ink" } },
    margin: { l: 8, r: 16, t: 8, b: 34 }, showlegend: false, hovermode: "closest", dragmode: false, bargap: 0.38,
  };
  const resolve = (value, key, style) => {
    if (Array.isArray(value)) return value.map((item) => resolve(item, key, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, resolve(item, name, style)]));
    }
    if (typeof value === "string" && colourKeys.has(key) && value.startsWith("--")) return style.getPropertyValue(value).trim();
    return value;
  };
  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    for (const [id, figure] of Object.entries(figures)) {
      const place = document.getElementById("chart-" + id);
      if (!place) continue;
      const layout = { ...base, ...figure.layout };
      for (const [part, changes] of Object.entries(place.clientWidth < 540 ? figure.narrow : {})) {
        layout[part] = typeof changes === "object" ? { ...layout[part], ...changes } : changes;
      }
      for (const name of ["xaxis", "yaxis", "yaxis2"]) if (layout[name]) layout[name] = { ...axis, ...layout[name] };
      const [data, coloured] = resolve([figure.data.map((trace) => ({ ...traces[trace.type ?? "scatter"], ...trace })), layout], "", style);
      for (const name of ["error_x", "error_y"]) for (const trace of data) if (trace[name]) Object.assign(trace[name], whiskers);
      // plotly draws an axis only if something is drawn on it
      if (layout.yaxis2) data.push({ type: "scatter", x: [null], y: [null], yaxis: "y2", hoverinfo: "skip" });
      Plotly.react(place, data, coloured, { displayModeBar: false, responsive: true, showTips: false });
    }
    document.documentElement.dataset.charts = "drawn";
  };
  const failed = (reason) => {
    document.documentElement.dataset.charts = "failed";
    for (const place of document.querySelectorAll(".chart")) {
      place.classList.add("failed");
      place.textContent = "This browser cannot draw the chart (" + reason + "); the tables hold the same numbers.";
    }
  };
  const load = async () => {
    const packed = atob(document.getElementById("plotly").textContent.trim());
    const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    draw();
    addEventListener("calm-theme", draw);
  };
  load().catch((error) => failed(error.message));
})();
