//! The table as a page for people: `docs/manifest.md`.

use std::fmt::Write;

use super::lexical::RELATIONS;
use super::{Key, Object, objects};

/// The reference page in Markdown.
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    for object in objects() {
        write_object(&mut page, object);
    }
    page.push_str("\n## Patterns of relations\n\n| pattern | means |\n|---|---|\n");
    for (name, _, meaning) in RELATIONS {
        push(&mut page, format_args!("| `{name}` | {meaning} |\n"));
    }
    write_later(&mut page);
    page
}

const HEAD: &str = "\
# The manifest

*This page is made from the same table as `weft check` and `weft schema`; `WEFT_BLESS=1 cargo test -p weft-model` writes it.*

YAML 1.2, a strict subset: one document; a key stands once in its map; only `true` and `false` are booleans; no tags, anchors,
aliases or merge keys. JSON is accepted as it is. An unknown key is an error, and so is a key that this version does not build yet.

**The endpoint string**: `service`, `service METHOD /path/{param}` or `service package.Service/Method` (the package may be left out where it is
not ambiguous). `*` stands for one path segment, `**` at the end for the rest. Inside `{ }` or `[ ]` an endpoint with braces is put in quotes.

**Quantities**: durations `250ms`, `10s`, `5m`, `24h`, `30d`; ranges `200ms..5m`; rates `100/s`, `5/m`; shares `5%`, `0.25%`.

**Several files**: `include` names files of teams. Such a file declares the contexts that it speaks for, and says nothing about others: its services
belong to its contexts, its relations have one of its contexts on a side, its `resilience` and `rollout` name its services, its `gateway` has only `routes`
to its services. Every included file lies in the folder of the main file or below.
Other paths in it (`api`, `cwd`) are relative to the folder of the main file, where its services run, too.

**Overlays**: `--env prod` merges `weft.prod.yaml` over the whole: maps are merged (a short form under a map is the long form it stands for), all else is
replaced, and `null` removes.

**Editors**: `weft schema > weft.schema.json`, and `# yaml-language-server: $schema=weft.schema.json` as the first line of a manifest.

**Variables**: `${NAME}` is filled in from the environment in `env` of a service and in `observe.traces`, nowhere else; one that is not set is an error.
";

fn write_object(page: &mut String, object: &Object) {
    push(page, format_args!("\n## `{}`\n\n{}\n\n", object.path, object.doc));
    page.push_str("| key | takes | default | does |\n|---|---|---|---|\n");
    for key in object.keys {
        write_key(page, key);
    }
}

fn write_key(page: &mut String, key: &Key) {
    let example = match key.example {
        "" => String::new(),
        example => format!("; `{}: {}`", key.name, escape(example)),
    };
    let default = if key.required { "**needed**" } else { key.default };
    let takes = key.shape.describe();
    push(
        page,
        format_args!(
            "| `{}` | {}{example} | {} | {} |\n",
            key.name,
            escape(&takes),
            escape(default),
            escape(key.doc)
        ),
    );
}

fn write_later(page: &mut String) {
    page.push_str("\n## Not supported in this version\n\nThese keys are known and refused by name.\n\n");
    page.push_str("| key | of | will be |\n|---|---|---|\n");
    for object in objects() {
        for later in object.later {
            push(page, format_args!("| `{}` | `{}` | {} |\n", later.name, object.path, later.doc));
        }
    }
}

/// A vertical bar ends a cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Writing into a `String` cannot fail.
fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = page.write_fmt(text);
}
