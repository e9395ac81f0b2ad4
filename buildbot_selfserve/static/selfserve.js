/* What the pages can do beyond what they do without it: tables sort and filter, and what is under
   way is shown as it goes on. Nothing here is needed to read a page or to press a button. */
(function () {
  "use strict";

  /* Fewer rows than this are seen at a glance. */
  var FEW_ROWS = 6;
  /* Milliseconds. Changes come in swarms, and a page is not asked for more often than this. */
  var PAUSE = 400, LEAST = 2000, POLL = 15000;
  /* So long, pressing a button again is the second half of a double click, or impatience. */
  var PRESSED = 10000;
  /* Milliseconds after which ages are told anew. */
  var TICK = 10000;
  var UNDER_WAY = ".state.running, .state.pending, [data-verdict=running], [data-verdict=pending]";

  /* How each table is sorted and filtered, by its id: it outlives the table, which is swapped. */
  var sorted = {}, filters = {};

  function make(name, attributes, text) {
    var element = document.createElement(name);
    Object.keys(attributes || {}).forEach(function (key) {
      element.setAttribute(key, attributes[key]);
    });
    if (text !== undefined) { element.textContent = text; }
    return element;
  }

  // -- tables

  function valueOf(row, column) {
    var cell = row.cells[column];
    if (!cell) { return ""; }
    return cell.dataset.sort !== undefined ? Number(cell.dataset.sort) : cell.textContent.trim();
  }

  function compare(one, other) {
    if (typeof one === "number" && typeof other === "number") { return one - other; }
    return String(one).localeCompare(String(other), undefined, {numeric: true});
  }

  function sort(table, column, direction) {
    var body = table.tBodies[0];
    var rows = Array.from(body.rows).map(function (row) {
      return {row: row, value: valueOf(row, column)};
    });
    rows.sort(function (one, other) { return direction * compare(one.value, other.value); });
    rows.forEach(function (one) { body.appendChild(one.row); });
    Array.from(table.tHead.rows[0].cells).forEach(function (cell, index) {
      if (index === column) {
        cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      } else {
        cell.removeAttribute("aria-sort");
      }
    });
    sorted[table.id] = {column: column, direction: direction};
  }

  function addSorting(table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (cell, column) {
      if (cell.hasAttribute("data-plain")) { return; }
      var button = make("button", {type: "button", "class": "sort"}, cell.textContent.trim());
      button.addEventListener("click", function () {
        var now = sorted[table.id];
        sort(table, column, now && now.column === column ? -now.direction : 1);
      });
      cell.textContent = "";
      cell.appendChild(button);
    });
    var wanted = sorted[table.id];
    if (wanted) { sort(table, wanted.column, wanted.direction); }
  }

  function filter(table, bar) {
    var words = bar.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    var shown = 0, rows = Array.from(table.tBodies[0].rows);
    rows.forEach(function (row) {
      var text = row.textContent.toLowerCase();
      row.hidden = !words.every(function (word) { return text.indexOf(word) >= 0; });
      shown += row.hidden ? 0 : 1;
    });
    bar.count.textContent = words.length ? shown + " of " + rows.length + " rows" : "";
  }

  function addFilter(table) {
    var bar = filters[table.id];
    if (!bar) {
      if (table.tBodies[0].rows.length < FEW_ROWS) { return; }
      var caption = table.caption ? table.caption.textContent.trim() : "";
      bar = filters[table.id] = {
        box: make("div", {"class": "filter"}),
        // no search field: the pages have one for revisions already
        input: make("input", {type: "text", autocomplete: "off", spellcheck: "false",
                              "aria-label": "Filter the rows of: " + caption}),
        count: make("span", {"class": "faint", role: "status"})
      };
      var label = make("label", {}, "Filter");
      label.appendChild(bar.input);
      bar.box.appendChild(label);
      bar.box.appendChild(bar.count);
      bar.input.addEventListener("input", function () { filter(bar.table, bar); });
    }
    bar.table = table;
    var place = table.closest(".scroll") || table;
    place.parentNode.insertBefore(bar.box, place);
    filter(table, bar);
  }

  // -- lists of boxes, and rows

  function addSearch(boxes) {
    var labels = Array.from(boxes.querySelectorAll("label"));
    if (labels.length < FEW_ROWS) { return; }
    var bar = make("div", {"class": "filter"}), count = make("span", {"class": "faint", role: "status"});
    var input = make("input", {type: "text", autocomplete: "off", spellcheck: "false"});
    var label = make("label", {}, boxes.dataset.filter);
    var all = make("button", {type: "button"}, "Tick those shown");
    var none = make("button", {type: "button"}, "Untick all");
    function tell() {
      var ticked = boxes.querySelectorAll("input:checked").length;
      var shown = labels.filter(function (one) { return !one.hidden; }).length;
      count.textContent = ticked + " ticked, " + shown + " of " + labels.length + " shown";
    }
    function tick(wanted, some) {
      some.forEach(function (one) { one.querySelector("input").checked = wanted; });
      tell();
    }
    input.addEventListener("input", function () {
      var words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      labels.forEach(function (one) {
        var text = one.textContent.toLowerCase();
        one.hidden = !words.every(function (word) { return text.indexOf(word) >= 0; });
      });
      tell();
    });
    // it would press the first button of the form
    input.addEventListener("keydown", function (event) {
      if (event.key === "Enter") { event.preventDefault(); }
    });
    all.addEventListener("click", function () {
      tick(true, labels.filter(function (one) { return !one.hidden; }));
    });
    none.addEventListener("click", function () { tick(false, labels); });
    boxes.addEventListener("change", tell);
    label.appendChild(input);
    [label, all, none, count].forEach(function (one) { bar.appendChild(one); });
    boxes.parentNode.insertBefore(bar, boxes);
    tell();
  }

  /* The last row is always empty: one more is there as soon as somebody writes into it. */
  function addRows(rows) {
    var empty = rows.querySelector(".property-row.new");
    if (!empty) { return; }
    empty = empty.cloneNode(true);
    rows.addEventListener("input", function () {
      var last = rows.lastElementChild;
      var used = Array.from(last.querySelectorAll("input")).some(function (one) { return one.value; });
      if (used) { rows.appendChild(empty.cloneNode(true)); }
    });
  }

  // -- times

  var UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]], NOW = 60;

  /* The same words as views/push_words.py has. */
  function age(seconds) {
    if (seconds < NOW) { return seconds < -60 ? "in the future" : "just now"; }
    var unit = UNITS.find(function (one) { return seconds >= one[1]; });
    var number = Math.floor(seconds / unit[1]);
    return number + " " + unit[0] + (number === 1 ? "" : "s") + " ago";
  }

  /* How far the clock of this machine is ahead of the server's, in seconds, once that is known. */
  var ahead = 0;

  function compareClocks(answer) {
    var now = Date.parse(answer.headers.get("Date") || "");
    if (!isNaN(now)) { ahead = (Date.now() - now) / 1000; }
  }

  /* Milliseconds; not every browser reads a zone without a colon. */
  function moment(time) { return Date.parse(time.dateTime.replace(/([+-]\d\d)(\d\d)$/, "$1:$2")); }

  function tell(time) {
    var when = moment(time) / 1000;
    var text = age(Math.floor(Date.now() / 1000 - ahead - when));
    if (time.textContent !== text) { time.textContent = text; }
  }

  function addTimes(part) {
    part.querySelectorAll("time[datetime]").forEach(function (time) {
      // in the zone of who looks at it
      time.title = new Date(moment(time)).toLocaleString(undefined, {
        dateStyle: "full", timeStyle: "long"
      });
      tell(time);
    });
  }

  function furnish(part) {
    addTimes(part);
    part.querySelectorAll(".boxes[data-filter]").forEach(addSearch);
    part.querySelectorAll(".property-rows").forEach(addRows);
    part.querySelectorAll("table[data-sortable]").forEach(function (table) {
      addSorting(table);
      addFilter(table);
    });
  }

  // -- what is under way

  /* What the server sent for each live part, to see whether it has changed. */
  var sent = new WeakMap();

  function parts(root) { return Array.from(root.querySelectorAll("[data-live][id]")); }

  /* Somebody writes something there: they must not lose it. */
  function inUse(part) {
    var focus = document.activeElement;
    if (focus && part.contains(focus) && focus.matches("input, select, textarea")
        && focus.form.method === "post") { return true; }
    return Array.from(part.querySelectorAll("form input, form textarea")).some(function (field) {
      return field.value !== field.defaultValue || field.checked !== field.defaultChecked;
    });
  }

  /* Finds in *part* what stands for an element that was there before; what it was is kept in a
     function, because the element itself will be gone. */
  function finder(part, element) {
    if (element === part) { return function () { return part; }; }
    // the chip of a builder leads to a request, and then to its build
    var attribute = ["data-same", "href"].find(function (name) {
      return element.hasAttribute(name);
    });
    var selector = element.tagName;
    var holder = element.closest("details[id], form[action]");
    var id = element.id || (element.tagName === "SUMMARY" && element.parentNode.id);
    var text = element.textContent, action = holder && holder.getAttribute("action");
    var value = attribute && element.getAttribute(attribute);
    return function () {
      if (id) {
        var named = document.getElementById(id);
        return named && (element.id ? named : named.querySelector("summary"));
      }
      var like = Array.from(part.querySelectorAll(selector)).filter(function (one) {
        if (attribute) { return one.getAttribute(attribute) === value; }
        var its = one.closest("details[id], form[action]");
        return (its && its.getAttribute("action")) === action;
      });
      return like.find(function (one) { return one.textContent === text; }) || like[0];
    };
  }

  function swap(part, fresh) {
    var focus = part.contains(document.activeElement) ? document.activeElement : null;
    var same = focus && finder(part, focus);
    var opened = Array.from(part.querySelectorAll("details[id][open]"), function (one) {
      return one.id;
    });
    part.replaceChildren.apply(part, Array.from(fresh.childNodes));
    ["data-again"].forEach(function (name) {
      if (fresh.hasAttribute(name)) { part.setAttribute(name, fresh.getAttribute(name)); }
      else { part.removeAttribute(name); }
    });
    opened.forEach(function (id) {
      var one = document.getElementById(id);
      if (one) { one.open = true; }
    });
    furnish(part);
    // what listens may add what had the focus
    part.dispatchEvent(new CustomEvent("selfserve:swapped", {bubbles: true}));
    var found = same && same();
    if (found && found !== document.activeElement) { found.focus({preventScroll: true}); }
  }

  /* A list of things with ids: each is swapped by itself, so that the others stay as they are. */
  function swapList(list, fresh) {
    var before = null;
    Array.from(fresh.children).forEach(function (one) {
      var there = one.id && document.getElementById(one.id);
      if (there && there.parentNode !== list) { there = null; }
      if (there && sentOf(there) !== one.outerHTML && !inUse(there)) {
        Array.from(one.attributes).forEach(function (attribute) {
          there.setAttribute(attribute.name, attribute.value);
        });
        sent.set(there, one.outerHTML);
        swap(there, document.importNode(one, true));
      }
      if (!there) {
        there = document.importNode(one, true);
        sent.set(there, one.outerHTML);
        furnish(there);
      }
      var next = before ? before.nextElementSibling : list.firstElementChild;
      if (next !== there) { list.insertBefore(there, next); }
      before = there;
    });
    while (before ? before.nextElementSibling : list.firstElementChild) {
      (before ? before.nextElementSibling : list.firstElementChild).remove();
    }
  }

  function sentOf(part) { return sent.has(part) ? sent.get(part) : part.outerHTML; }

  function show(page) {
    parts(document).forEach(function (part) {
      var fresh = page.getElementById(part.id);
      if (!fresh || fresh.innerHTML === sent.get(part)) { return; }
      if (part.dataset.live === "list") {
        swapList(part, fresh);
      } else if (inUse(part)) {
        return;
      } else {
        swap(part, document.importNode(fresh, true));
      }
      sent.set(part, fresh.innerHTML);
    });
    document.title = page.title || document.title;
    document.dispatchEvent(new CustomEvent("selfserve:shown"));
  }

  var asking = false, timer = null, last = Date.now();

  /* Nobody sees it, and nobody waits for a notice from it. */
  function unseen() { return document.hidden && !("awaited" in document.body.dataset); }

  function ask() {
    timer = null;
    if (asking || unseen()) { return; }
    asking = true;
    last = Date.now();
    fetch(window.location.href, {headers: {Accept: "text/html"}, credentials: "same-origin"})
      .then(function (answer) {
        compareClocks(answer);
        return answer.ok ? answer.text() : null;
      })
      .then(function (text) {
        if (text) { show(new DOMParser().parseFromString(text, "text/html")); }
      })
      .catch(function () { /* the master is away; it is asked again */ })
      .then(function () {
        asking = false;
        if (unseen()) { attend(); } else { plan(); }
      });
  }

  function askSoon() {
    if (timer === null) {
      timer = window.setTimeout(ask, Math.max(PAUSE, last + LEAST - Date.now()));
    }
  }

  // -- when to ask

  var source = null, silent = true, opened = false, poll = null;

  /* Plans the next look, where nobody tells of changes or something asks for it. */
  function plan() {
    window.clearTimeout(poll);
    var wishes = Array.from(document.querySelectorAll("[data-again]"), function (part) {
      return Number(part.dataset.again) * 1000;
    });
    if (silent && document.querySelector(UNDER_WAY)) { wishes.push(POLL); }
    if (wishes.length && !unseen()) {
      poll = window.setTimeout(ask, Math.min.apply(null, wishes));
    }
  }

  function listen() {
    var url = document.body.dataset.events;
    if (!url || !window.EventSource || source) { return; }
    source = new EventSource(url);
    source.addEventListener("change", askSoon);
    source.onopen = function () {
      silent = false;
      // what happened while it was closed, or since the page was made, was told to nobody
      if (opened || document.querySelector(UNDER_WAY)) { askSoon(); }
      opened = true;
      plan();
    };
    source.onerror = function () {
      silent = true;
      // refused for good; otherwise the browser tries again by itself
      if (source && source.readyState === EventSource.CLOSED) { source = null; }
      plan();
    };
  }

  /* A browser has few connections to one host: a page that nobody sees keeps none. */
  function attend() {
    if (unseen()) {
      if (source) { source.close(); source = null; silent = true; }
      window.clearTimeout(poll);
    } else {
      listen();
      askSoon();
    }
  }

  // -- forms

  /* What is pressed twice is done once. */
  function once(event) {
    var form = event.target;
    if (form.method !== "post") { return; }
    if (form.hasAttribute("aria-busy")) { event.preventDefault(); return; }
    form.setAttribute("aria-busy", "true");
    window.setTimeout(function () { form.removeAttribute("aria-busy"); }, PRESSED);
  }

  /* After going back to a page, its buttons can be pressed again. */
  function again() {
    document.querySelectorAll("form[aria-busy]").forEach(function (form) {
      form.removeAttribute("aria-busy");
    });
  }

  window.setInterval(function () {
    if (!document.hidden) { document.querySelectorAll("time[datetime]").forEach(tell); }
  }, TICK);

  document.addEventListener("submit", once);
  window.addEventListener("pageshow", again);

  parts(document).forEach(function (part) {
    sent.set(part, part.innerHTML);
    if (part.dataset.live !== "list") { return; }
    Array.from(part.children).forEach(function (one) { sent.set(one, one.outerHTML); });
  });
  furnish(document);
  if (parts(document).length) {
    listen();
    plan();
    document.addEventListener("visibilitychange", attend);
  }
})();
