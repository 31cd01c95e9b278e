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

  // A form has no focus by itself: without this, what is typed into the form of `l` would act as keys behind it.
  let formDue = 0;
  const fieldOfForm = () => document.querySelector(".MuiDialog-container input");
  const isInForm = () => fieldOfForm() !== null || Date.now() < formDue;

  function focusForm(triesLeft) {
    const field = fieldOfForm();
    if (field) field.focus();
    else if (triesLeft > 0) setTimeout(focusForm, 50, triesLeft - 1);
  }

  document.addEventListener("keydown", function (event) {
    if (!KEYS.includes(event.key) || event.repeat || event.defaultPrevented) return;
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event) || isInForm()) return;
    const operators = window.__foo__; // FiftyOne's operators, as exposed to plugins
    if (!operators || !operators.executeOperator) return;
    operators.executeOperator("@rsam/review/key", { key: event.key });
    if (event.key !== "l") return;
    formDue = Date.now() + 1000;
    focusForm(200);
  });
})();
