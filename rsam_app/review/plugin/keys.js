// Keys of @rsam/review: FiftyOne's Python plugins cannot bind keys. rsam_app/review/plugin/keys.py decides what each
// key does, and ignores keys on datasets that are not RSAM's.
(function () {
  "use strict";
  const KEYS = ["1", "2", "3", "4", "5", "6", "7", "l", "0", "n"];
  if (window.__rsam_review_keys__) return; // the App runs this again when it reloads plugins
  window.__rsam_review_keys__ = true;

  function isTyping(event) {
    const target = event.composedPath()[0];
    if (!(target instanceof HTMLElement)) return false;
    return target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
  }

  document.addEventListener("keydown", function (event) {
    if (!KEYS.includes(event.key) || event.repeat || event.defaultPrevented) return;
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
    const operators = window.__foo__; // FiftyOne's operators, as exposed to plugins
    if (operators && operators.executeOperator) operators.executeOperator("@rsam/review/key", { key: event.key });
  });
})();
