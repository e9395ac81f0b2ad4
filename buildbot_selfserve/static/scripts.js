/* Buildbot's own pages load this file. It adds "Self-serve" to their sidebar, which leads to our page
   of what is open, and a setting to theirs. */
(function () {
  "use strict";

  /* What is open, by the address of Buildbot's page, and how our pages are asked for it. */
  var OPEN = [
    [/^#\/builders\/([^/?#]+)\/builds\/(\d+)(?:[/?#]|$)/, ["builder", "number"]],
    [/^#\/builders\/([^/?#]+)(?:[/?#]|$)/, ["builder"]],
    [/^#\/buildrequests\/(\d+)(?:[/?#]|$)/, ["request"]],
    [/^#\/changes\/(\d+)(?:[/?#]|$)/, ["change"]]
  ];
  var OURS = "#/self-serve";

  window.BuildbotPluginSupport.buildbotSetupPlugin(function (registry, config) {
    var React = window.React;
    var ours = (config.plugins && config.plugins.selfserve) || {};
    var root = window.BuildbotDataJs.getBaseUrl(window.location, ours.path || "self-serve");

    function target() {
      var hash = window.location.hash;
      for (var i = 0; i < OPEN.length; i += 1) {
        var match = OPEN[i][0].exec(hash);
        if (match) {
          return root + "/goto?" + OPEN[i][1].map(function (name, at) {
            // it may be a name, which the address has encoded already
            return name + "=" + match[at + 1].replace(/[&+=]/g, encodeURIComponent);
          }).join("&");
        }
      }
      return hash.indexOf(OURS) === 0 ? root + hash.slice(OURS.length) : root;
    }

    function linkOf(event) {
      var link = event.target.closest ? event.target.closest("a") : null;
      return link && (link.dataset.selfserve || link.getAttribute("href") === OURS) ? link : null;
    }

    /* Let our link lead to what is open now; one may also copy it, or open it in another tab. */
    function aim(event) {
      var link = linkOf(event);
      if (link) {
        link.dataset.selfserve = "1";
        link.href = target();
      }
      return link;
    }

    ["pointerover", "focusin", "contextmenu", "auxclick"].forEach(function (kind) {
      document.addEventListener(kind, aim, true);
    });
    // the router of Buildbot's pages would take the click for one of its own
    document.addEventListener("click", function (event) {
      if (aim(event)) { event.stopPropagation(); }
    }, true);

    function Away() {
      var there = target();
      // replace: with the Back button one would otherwise land here again
      React.useEffect(function () { window.location.replace(there); }, [there]);
      return React.createElement("a", {href: there}, "Self-serve");
    }

    registry.registerMenuGroup({
      name: "selfserve",
      parentName: null,
      caption: "Self-serve",
      order: 11,
      route: "/self-serve",
      icon: React.createElement(
        "svg",
        {viewBox: "0 0 16 16", width: "1em", height: "1em", fill: "currentColor"},
        React.createElement("path", {d: "M2 2h5v5H2zM9 2h5v5H9zM2 9h5v5H2zM10 9l5 2.5-5 2.5z"})
      ),
    });
    registry.registerRoute({
      route: "/self-serve/*",
      group: "selfserve",
      element: function () { return React.createElement(Away); },
    });
    // read by scheme.js in our pages
    registry.registerSettingGroup({
      name: "Selfserve",
      caption: "Self-serve related settings",
      items: [{
        type: "choice_combo",
        name: "color_scheme",
        caption: "Color scheme of the self-serve pages",
        choices: ["As the system", "Light", "Dark"],
        defaultValue: "As the system",
      }],
    });
  });
})();
