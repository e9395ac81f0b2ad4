/* What must be known before anything is painted: whether notices can be shown; and light or dark: what the visitor has chosen in Buildbot's settings,
   which its pages keep in this browser. Else the server's default or the system decides, as they do
   without JavaScript. */
(function () {
  "use strict";

  var SCHEMES = {Light: "light", Dark: "dark"};
  var root = document.documentElement, before = root.dataset.scheme;

  function chosen() {
    try {
      return JSON.parse(window.localStorage.getItem("settings")).Selfserve.color_scheme;
    } catch (error) {
      return undefined; // nothing is kept, or nothing of ours
    }
  }

  function apply() {
    var wanted = chosen();
    var scheme = wanted === undefined ? before : SCHEMES[wanted];
    if (scheme) { root.dataset.scheme = scheme; }
    else { delete root.dataset.scheme; }
  }

  apply();
  // buttons that can do nothing take no room
  if (!window.Notification || window.Notification.permission === "denied") {
    root.dataset.notices = "none";
  }
  // it was changed in another tab
  window.addEventListener("storage", function (event) {
    if (event.key === "settings" || event.key === null) { apply(); }
  });
})();
