/* What the pages of pushes and of a revision can do with a keyboard, and when to tell of a verdict.
   Everything here can be done without it. */
(function () {
  "use strict";

  var KEYS = [
    ["j, k", "next or previous push"],
    ["arrows", "next or previous builder"],
    ["Enter", "open"],
    ["r", "rerun: the builder, or what failed at the push; its plan is shown first"],
    ["f", "fill in what is missing"],
    ["n", "notify me when the verdict is there"],
    ["?", "these keys"]
  ];

  function all(selector, within) {
    return Array.from((within || document).querySelectorAll(selector));
  }

  // -- moving about

  function current() {
    var focus = document.activeElement;
    return {
      push: focus && focus.closest(".push"),
      chip: focus && focus.closest("a.chip, a.square")
    };
  }

  function focusPush(step) {
    var pushes = all(".push"), at = pushes.indexOf(current().push);
    var next = pushes[at < 0 ? (step > 0 ? 0 : pushes.length - 1) : at + step];
    if (!next) { return; }
    next.tabIndex = -1;
    next.focus({preventScroll: true});
    next.scrollIntoView({block: "nearest"});
  }

  function focusChip(step) {
    var here = current();
    var chips = all("a.chip, a.square", here.push || document.getElementById("content"));
    var at = chips.indexOf(here.chip);
    var next = at < 0 ? chips[0] : chips[at + step];
    if (next) { next.focus(); }
  }

  /* The chip nearest above or below: rows of chips wrap where the window says. */
  function focusRow(step) {
    var here = current();
    if (!here.chip) { return false; }
    var box = here.chip.getBoundingClientRect(), x = box.left + box.width / 2, best = null;
    all("a.chip, a.square", here.push || document.getElementById("content")).forEach(function (one) {
      var its = one.getBoundingClientRect(), down = step * (its.top - box.top);
      if (down < box.height / 2) { return; }
      var far = down * 4 + Math.abs(its.left + its.width / 2 - x);
      if (!best || far < best.far) { best = {chip: one, far: far}; }
    });
    if (best) { best.chip.focus(); }
    return Boolean(best);
  }

  // -- acting

  function submit(action, fields) {
    var form = document.createElement("form");
    form.method = "post";
    form.action = action;
    fields.forEach(function (field) {
      var input = document.createElement("input");
      input.type = "hidden";
      input.name = field[0];
      input.value = field[1];
      form.appendChild(input);
    });
    document.body.appendChild(form);
    form.submit();
  }

  function branchUrl(chip) { return chip.href.replace(/\/(build|request)\/\d+$/, ""); }

  /* Says why a key does nothing. The place is there before its text, or else nobody hears it. */
  var place = document.createElement("p"), silence = 0;
  place.className = "said";
  place.setAttribute("role", "status");

  function say(text) {
    place.textContent = text;
    window.clearTimeout(silence);
    silence = window.setTimeout(function () { place.textContent = ""; }, 6000);
  }

  function press(path, nothing) {
    var within = current().push || document.getElementById("verdict");
    if (!within) { say("Choose a push first, with j or k."); return; }
    var form = all("form", within).find(function (one) { return one.action.endsWith(path); });
    var button = form && form.querySelector("button");
    if (!button) { say(nothing); return; }
    if (button.disabled) { say(button.title || "You may not do that."); return; }
    form.requestSubmit(button);
  }

  function rerun() {
    var chip = current().chip;
    if (!chip) { press("/failed", "Nothing to rerun: nothing has failed here."); return; }
    if (chip.dataset.build) {
      submit(branchUrl(chip) + "/build", [["build_id", chip.dataset.build], ["dry_run", "1"]]);
    } else if (chip.dataset.request) {
      submit(branchUrl(chip) + "/request", [["request_id", chip.dataset.request], ["dry_run", "1"]]);
    } else {
      say("Nothing to rerun: this builder has built nothing here.");
    }
  }

  function closeMenus(except) {
    all("details.more[open]").forEach(function (one) {
      if (except && one.contains(except)) { return; }
      var inside = one.contains(document.activeElement);
      one.open = false;
      if (inside) { one.querySelector("summary").focus(); }
    });
  }

  function help() {
    var dialog = document.querySelector("dialog.help");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.className = "help";
      dialog.setAttribute("aria-label", "Keys");
      var list = document.createElement("dl");
      KEYS.forEach(function (key) {
        var name = document.createElement("dt"), text = document.createElement("dd");
        name.textContent = key[0];
        text.textContent = key[1];
        list.append(name, text);
      });
      var form = document.createElement("form"), close = document.createElement("button");
      form.method = "dialog";
      close.textContent = "Close";
      form.appendChild(close);
      dialog.append(list, form);
      document.body.appendChild(dialog);
    }
    dialog.showModal();
  }

  // -- telling of verdicts

  /* The cards whose verdict somebody waits for, by id, with the verdict that was seen last. */
  var WATCHED = "selfserve-watched";
  var OPEN = ["pending", "running"];

  function watched() {
    try { return JSON.parse(sessionStorage.getItem(WATCHED)) || {}; } catch (error) { return {}; }
  }

  function keep(cards) {
    try { sessionStorage.setItem(WATCHED, JSON.stringify(cards)); } catch (error) { /* only here */ }
  }

  function key(card) { return location.pathname + "#" + card.id; }

  /* A page from which somebody waits for a notice looks again even if it is out of sight. */
  function attend() {
    var cards = watched(), here = all("[data-verdict]").some(function (card) { return cards[key(card)]; });
    if (here) { document.body.dataset.awaited = ""; } else { delete document.body.dataset.awaited; }
  }

  function toggle(card) {
    var cards = watched();
    if (cards[key(card)]) {
      delete cards[key(card)];
      keep(cards);
      showSwitches();
      return;
    }
    Notification.requestPermission().then(function (answer) {
      if (answer === "denied") { document.documentElement.dataset.notices = "none"; }
      if (answer !== "granted") { return; }
      cards[key(card)] = true;
      keep(cards);
      showSwitches();
    });
  }

  /* Shows which verdicts somebody waits for, and tells of those that are there. */
  function showSwitches() {
    var cards = watched();
    all("[data-verdict]").forEach(function (card) {
      var button = card.querySelector("button.notify"), on = Boolean(cards[key(card)]);
      if (on && OPEN.indexOf(card.dataset.verdict) < 0) {
        tell(card);
        delete cards[key(card)];
        keep(cards);
      }
      if (button) { button.setAttribute("aria-pressed", String(on)); }
    });
    attend();
  }

  function tell(card) {
    var word = card.querySelector(".verdict-word");
    try {
      var notice = new Notification(card.dataset.subject, {
        body: word ? word.parentNode.textContent.trim().replace(/\s+/g, " ") : card.dataset.verdict,
        tag: key(card)
      });
      notice.onclick = function () { window.focus(); };
    } catch (error) { /* some browsers of phones allow it to service workers only */ }
  }

  // -- all of it

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) { return; }
    if (event.target.closest("input, textarea, select, dialog")) { return; }
    var done = true;
    switch (event.key) {
      case "j": focusPush(1); break;
      case "k": focusPush(-1); break;
      case "ArrowRight": if (current().chip || current().push) { focusChip(1); } else { done = false; } break;
      case "ArrowLeft": if (current().chip || current().push) { focusChip(-1); } else { done = false; } break;
      case "ArrowDown": done = focusRow(1); break;
      case "ArrowUp": done = focusRow(-1); break;
      case "Enter":
        if (event.target.matches(".push")) { event.target.querySelector("h2 a").click(); } else { done = false; }
        break;
      case "Escape": done = Boolean(document.querySelector("details.more[open]")); closeMenus(); break;
      case "r": rerun(); break;
      case "f": press("/missing", "Nothing can be filled in here."); break;
      case "n":
        var card = current().push || document.querySelector("#verdict [data-verdict]");
        var button = card && card.querySelector("button.notify");
        if (button) { button.click(); } else { say(card ? "The verdict is there already." : "Choose a push first, with j or k."); }
        break;
      case "?": help(); break;
      default: done = false;
    }
    if (done) { event.preventDefault(); }
  }

  if (document.querySelector("[data-verdict]") || document.querySelector("[data-push-list]")) {
    document.body.append(place);
    document.addEventListener("keydown", onKey);
    showSwitches();
    document.addEventListener("click", function (event) {
      closeMenus(event.target);
      if (event.target.matches("button.notify")) { toggle(event.target.closest("[data-verdict]")); }
    });
    ["selfserve:swapped", "selfserve:shown"].forEach(function (name) {
      document.addEventListener(name, showSwitches);
    });
  }
})();
