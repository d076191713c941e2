"""How the report looks; nothing is loaded from anywhere else."""

CSS = """
:root { color-scheme: light dark; --ink: #222; --soft: #5b6068; --line: #e2e4e8; --paper: #fff; --ground: #f5f6f8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 24px 20px 64px; }
header { border-bottom: 2px solid var(--ink); margin-bottom: 8px; padding-top: 16px; }
* + header { margin-top: 48px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 36px 0 8px; }
dl { display: flex; flex-wrap: wrap; gap: 8px 32px; margin: 0 0 16px; }
dt { color: var(--soft); font-size: 13px; }
dd { margin: 0; overflow-wrap: anywhere; }
.words { max-width: 78ch; color: var(--soft); margin: 0 0 14px; font-size: 15px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 16px; }
.grid + .words { margin-top: 18px; }
figure { margin: 0; padding: 10px 10px 12px; background: var(--paper); border: 1px solid var(--line);
  border-radius: 6px; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: 13.5px; color: var(--soft); padding: 4px 6px 0; }
figcaption span { font-size: 12.5px; }
figcaption .marked { display: block; }
figure:target, tr:target { outline: 2px solid #0b5cad; outline-offset: -1px; }
section, figure, tr { scroll-margin-top: 8px; }
.words b { color: var(--ink); }
.notice { background: #fdf3d8; border: 1px solid #e3c878; border-radius: 6px; padding: 10px 14px; margin: 12px 0;
  font-size: 15px; overflow-wrap: anywhere; }
.notice ul { margin: 4px 0 0; padding-left: 20px; }
.index td { white-space: normal; } .index td:last-child { min-width: 160px; }
.events td { white-space: normal; } .events table { min-width: 980px; }
a { color: #0b5cad; }
.scroll { overflow-x: auto; background: var(--paper); border: 1px solid var(--line); border-radius: 6px;
  margin: 0 0 14px; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 12px; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-size: 13px; color: var(--soft); font-weight: 600; white-space: nowrap; }
td { white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
details { margin: 12px 0; }
summary { cursor: pointer; font-size: 15px; }
pre { background: var(--paper); border: 1px solid var(--line); border-radius: 6px; padding: 12px; overflow-x: auto;
  font-size: 13px; }
@media (max-width: 560px) { main { padding: 12px 12px 48px; } h1 { font-size: 24px; } th, td { padding: 6px 9px; } }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --soft: #aab1ba; --line: #3a4048; --paper: #1e2228; --ground: #14171b; }
  a { color: #7cb9f7; } .notice { background: #372e14; border-color: #6b5a22; }
  figure { background: #fff; --soft: #5b6068; } figure a { color: #0b5cad; }
}
@media print { body { background: #fff; } figure, .scroll { break-inside: avoid; } }
"""
