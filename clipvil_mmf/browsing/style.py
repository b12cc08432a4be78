"""The looks of the page: those of ``clipvil demo``, light or dark as the visitor's machine is."""

CSS = """
:root { color-scheme: light dark; --paper: #f6f8fa; --card: #fff; --line: #d1d9e0; --ink: #1f2328;
  --soft: #59636e; --right: #0b6bcb; --wrong: #c4460a; --note: #fff4e5; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --card: #161b22; --line: #30363d;
  --ink: #e6edf3; --soft: #9198a1; --right: #58a6ff; --wrong: #ff9a5c; --note: #33240f; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 16px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; display: grid; gap: 0 20px;
  grid-template-columns: 250px minmax(0, 1fr); max-width: 1500px; margin-inline: auto; }
header { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: 0 14px; align-items: baseline;
  margin-bottom: 12px; }
header p, h1 { margin: 0; overflow-wrap: anywhere; }
h1 { font-size: 1.5em; }
header p, .about, .known, .count { color: var(--soft); }
a { color: var(--right); text-decoration: none; }
a:hover { text-decoration: underline; }
main { min-width: 0; grid-column: 2; }
#toggle, label[for=toggle] { display: none; }
form { align-self: start; position: sticky; top: 12px; background: var(--card); padding: 12px;
  border: 1px solid var(--line); border-radius: 8px; max-height: calc(100vh - 24px);
  overflow-y: auto; }
form label { display: block; font-size: 0.87em; color: var(--soft); margin-bottom: 8px; }
input, select, button { font: inherit; font-size: 15px; color: var(--ink); width: 100%;
  margin-top: 2px; padding: 5px 7px; background: var(--paper); border: 1px solid var(--line);
  border-radius: 6px; min-width: 0; }
fieldset { border: 0; border-block: 1px solid var(--line); padding: 6px 0 0; margin: 0 0 8px;
  min-width: 0; }
legend { font-weight: 600; padding: 0 8px 0 0; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
.buttons { display: flex; gap: 12px; align-items: center; margin: 4px 0 0; }
button { width: auto; padding: 6px 18px; background: var(--right); border-color: var(--right);
  color: var(--card); cursor: pointer; font-weight: 600; }
.count { margin: 0 0 6px; font-size: 1.1em; }
.count b { color: var(--ink); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; background: var(--card); border: 1px solid var(--line); }
th, td { padding: 4px 12px; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; white-space: normal; min-width: 4em;
  word-break: break-word; }
thead th { color: var(--soft); font-weight: 400; border-bottom: 1px solid var(--line); }
.note { background: var(--note); border-left: 3px solid var(--wrong); padding: 6px 10px;
  margin: 10px 0; overflow-wrap: anywhere; }
#export { margin: 10px 0; }
#export pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: 8px; overflow-x: auto; font-size: 13px; }
summary { cursor: pointer; color: var(--right); }
.pages { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 10px 0; align-items: baseline; }
.pages span { color: var(--line); }
.cards { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(400px, 1fr));
  align-items: start; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px;
  display: flex; gap: 14px; min-width: 0; }
.pictures { flex: 0 1 auto; max-width: 46%; display: flex; flex-wrap: wrap; gap: 6px;
  align-content: start; min-width: 0; }
.pictures img { max-width: 100%; height: auto; display: block; border-radius: 6px; }
.small { image-rendering: pixelated; }
.missing { margin: 0; padding: 8px; border: 1px dashed var(--line); color: var(--soft);
  overflow-wrap: anywhere; font-size: 0.87em; }
.all { flex-basis: 100%; width: 0; font-size: 0.87em; }
.asked { flex: 1; min-width: 0; }
section + section { border-top: 1px solid var(--line); margin-top: 10px; padding-top: 8px; }
h2 { font-size: 1em; margin: 0; overflow-wrap: anywhere; }
.about, .known { margin: 0; font-size: 0.87em; overflow-wrap: anywhere; }
.runs { list-style: none; margin: 4px 0 0; padding: 0; }
.runs li { display: flex; gap: 6px; align-items: baseline; }
.runs li > i { font-style: normal; font-weight: 700; flex: 0 0 1em; text-align: center; }
.runs li > div { flex: 1; min-width: 0; display: flex; flex-wrap: wrap; gap: 0 8px;
  align-items: baseline; }
.runs b, .runs span { overflow-wrap: anywhere; }
.runs .name { color: var(--soft); }
.runs span { font-size: 0.87em; color: var(--soft); }
.right > i, .right b { color: var(--right); }
.wrong > i, .wrong b { color: var(--wrong); }
.runs details { font-size: 0.87em; }
.runs details[open] { flex-basis: 100%; }
.bar { display: grid; grid-template-columns: minmax(60px, 30%) 1fr 44px; gap: 8px;
  align-items: center; }
.room i { display: block; height: 10px; border-radius: 3px; background: var(--right); }
.bar span:last-child { text-align: right; }
@media (max-width: 820px) {
  body { display: block; padding: 10px; }
  label[for=toggle] { display: block; background: var(--card); border: 1px solid var(--line);
    border-radius: 8px; padding: 8px 12px; margin-bottom: 10px; color: var(--right);
    cursor: pointer; }
  #toggle { display: block; position: absolute; opacity: 0; width: 1px; }
  #toggle:focus-visible + label { outline: 2px solid var(--right); }
  label[for=toggle]::before { content: "▸ "; }
  #toggle:checked + label::before { content: "▾ "; }
  form { display: none; position: static; max-height: none; margin-bottom: 12px; }
  #toggle:checked ~ form { display: block; }
  .cards { grid-template-columns: minmax(0, 1fr); }
  th, td { padding: 4px 6px; font-size: 0.87em; }
}
@media (max-width: 520px) {
  article { flex-direction: column; gap: 8px; }
  .pictures { max-width: none; }
}
"""
