/* Buildbot's own pages load this file. It adds "Self-serve" to their sidebar, which leads to ours
   from a "#/self-serve" address of those pages. */
(function () {
  "use strict";

  window.BuildbotPluginSupport.buildbotSetupPlugin(function (registry, config) {
    var React = window.React;
    var ours = (config.plugins && config.plugins.selfserve) || {};
    var root = window.BuildbotDataJs.getBaseUrl(window.location, ours.path || "self-serve");

    function Away() {
      var target = root + window.location.hash.replace(/^#\/self-serve/, "");
      // replace: with the Back button one would otherwise land here again
      React.useEffect(function () { window.location.replace(target); }, [target]);
      return React.createElement("a", {href: target}, "Self-serve");
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
  });
})();
