"use strict";
(() => {
  const root = document.documentElement, body = document.body;
  root.classList.add("js");
  const all = (where, what) => Array.from(where.querySelectorAll(what));

  // Commands: a button that copies.
  for (const command of all(document, ".command")) {
    const button = command.querySelector("button"), code = command.querySelector("code");
    button.addEventListener("click", async () => {
      let done = true;
      try { await navigator.clipboard.writeText(code.textContent); } catch {
        getSelection().selectAllChildren(code);
        done = document.execCommand("copy");
      }
      const text = button.firstChild, before = "Copy";
      text.textContent = done ? "Copied" : "Press Ctrl+C";
      setTimeout(() => { text.textContent = before; }, 1500);
    });
  }

  // Charts: the numbers at a pointer or, by arrow keys, at an epoch; all charts beside each other read the same epoch.
  for (const block of all(document, ".curves")) {
    const charts = all(block, ".chart").map((figure) => {
      const data = JSON.parse(figure.dataset.chart), curves = all(figure, ".plot .curve");
      const buttons = all(figure, ".legend button"), plot = figure.querySelector(".plot");
      const chart = { figure, data, curves, plot, svg: plot.querySelector("svg"), at: null };
      buttons.forEach((button, number) => button.addEventListener("click", () => {
        const shown = curves[number].classList.toggle("off") === false;
        button.setAttribute("aria-pressed", shown);
      }));
      return chart;
    });
    const show = (epoch, own) => charts.forEach((chart) => {
      const { data, figure, curves } = chart, index = data.epochs.indexOf(epoch), readout = figure.querySelector(".readout");
      figure.classList.toggle("reading", index >= 0);
      if (index < 0) { readout.textContent = ""; return; }
      const x = data.x[index], cursor = figure.querySelector(".cursor");
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      const parts = [];
      data.series.forEach((series, number) => {
        const dot = curves[number].querySelector(".at"), y = series.y[index];
        dot.classList.toggle("on", y !== null);
        if (y === null) return;
        dot.setAttribute("cx", x);
        dot.setAttribute("cy", y);
        if (!curves[number].classList.contains("off")) parts.push(`${series.label} ${series.text[index]}`);
      });
      readout.setAttribute("aria-live", chart === own ? "polite" : "off");
      readout.textContent = `epoch ${epoch}: ${parts.join(", ") || "–"}`;
      chart.at = index;
    });
    for (const chart of charts) {
      const { plot, svg, data } = chart;
      const nearest = (event) => {
        const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
        let best = 0;
        data.x.forEach((place, index) => { if (Math.abs(place - x) < Math.abs(data.x[best] - x)) best = index; });
        return data.epochs[best];
      };
      plot.addEventListener("pointermove", (event) => show(nearest(event), chart));
      plot.addEventListener("pointerleave", () => { if (document.activeElement !== plot) show(null, chart); });
      plot.addEventListener("focus", () => show(data.epochs[chart.at ?? data.epochs.length - 1], chart));
      plot.addEventListener("blur", () => show(null, chart));
      plot.addEventListener("keydown", (event) => {
        const last = data.epochs.length - 1, at = chart.at ?? last;
        const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        show(data.epochs[Math.min(last, Math.max(0, to))], chart);
      });
    }
  }

  // A slider over epochs: the mixture, and the cell that would be taken.
  for (const line of all(document, ".timeline")) {
    const input = line.querySelector("input"), moments = JSON.parse(line.dataset.moments);
    if (!input) continue;
    const tables = all(line, ".heat").map((table) => all(table, "tbody td"));
    const cells = all(line, ".drawn"), drawn = all(line, "template"), label = line.querySelector(".moment");
    const choices = line.querySelector(".choices");
    const go = () => {
      const moment = moments[input.value];
      label.textContent = moment.label;
      input.setAttribute("aria-valuetext", moment.label);
      tables.forEach((table, number) => {
        const kept = new Set(moment.kept[number]);
        table.forEach((cell, place) => {
          const percent = moment.mixture[number][place];
          cell.style.setProperty("--v", `${percent}%`);
          cell.querySelector("span").textContent = (percent / 100).toFixed(2);
          cell.classList.toggle("kept", kept.has(place));
        });
      });
      cells.forEach((cell, number) => cell.replaceChildren(drawn[moment.cells[number]].content.cloneNode(true)));
      if (choices) choices.hidden = Number(input.value) !== moments.length - 1;
    };
    input.addEventListener("input", go);
    line.go = go;
  }

  // While the run goes on: load the page again, and come back to the same place.
  const key = `poise:${location.pathname}`, running = body.dataset.state === "running";
  const keep = {
    get() { try { return JSON.parse(sessionStorage.getItem(key)) || {}; } catch { return {}; } },
    set(value) { try { sessionStorage.setItem(key, JSON.stringify(value)); } catch { /* nowhere to keep it */ } },
  };
  const before = keep.get(), details = all(document, "details"), sliders = all(document, ".slider input");
  if (before.again) {
    (before.open || []).forEach((number) => { if (details[number]) details[number].open = true; });
    (before.places || []).forEach((place, number) => {
      const input = sliders[number];
      if (!input || place === null) return;
      input.value = place;
      input.closest(".timeline").go();
    });
    scrollTo(0, before.scroll || 0);
    keep.set({});
  }
  if (running) {
    const age = document.querySelector(".age"), written = Number(body.dataset.written);
    const tell = () => {
      const seconds = Math.max(0, Math.round(Date.now() / 1000 - written));
      if (age) age.textContent = `Written ${seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`} ago.`;
    };
    tell();
    setInterval(tell, 1000);
    setTimeout(() => {
      keep.set({
        again: true, scroll: scrollY, open: details.flatMap((each, number) => (each.open ? [number] : [])),
        // a slider at its end stays at the end
        places: sliders.map((input) => (input.value === input.max ? null : input.value)),
      });
      location.reload();
    }, 10000);
  }
})();
