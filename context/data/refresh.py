#!/usr/bin/env python3
"""Rewrites uap-core.json and bots.txt from new versions of their packages.

    npm pack uap-core crawler-user-agents      # then unpack each tarball into a folder of its name
    python3 refresh.py UAP_CORE_FOLDER CRAWLER_USER_AGENTS_FOLDER

Needs PyYAML. Write the versions into README.md, and run `cargo test -p context`.
"""

import json
import pathlib
import sys

import yaml

# Patterns of the list that also match browsers of people.
OF_PEOPLE = {
    r"008\/",  # Opera Mini's build numbers
    r"AP3A\.240617\.008",  # a build of Android
    r"Butterfly",  # a telephone by HTC
    r"Code\/1\.",  # Visual Studio Code
    r"Fluid",  # a browser of macOS
    r"MetaIAB Facebook",  # the browser inside Facebook's app
    r"Notion\/",  # Notion's app
    r"RED\/",  # the end of other words
    r"Sonic",  # ViewSonic's tablets
    r"Teoma",  # TeomaBar
    r"Trae\/",  # an editor
    r"mail\.ru",
    r"speedy",  # a telephone by HTC
}


def kept(parsers, *fields):
    return [{field: parser[field] for field in fields if field in parser} for parser in parsers]


def main(uap_core, crawlers):
    here = pathlib.Path(__file__).parent
    patterns = yaml.safe_load((pathlib.Path(uap_core) / "regexes.yaml").read_text("utf-8"))
    parsers = {
        "user_agent_parsers": kept(
            patterns["user_agent_parsers"], "regex", "family_replacement", "v1_replacement"
        ),
        "os_parsers": kept(patterns["os_parsers"], "regex", "os_replacement"),
    }
    lines = json.dumps(parsers, ensure_ascii=False).replace(' {"regex"', '\n{"regex"')
    (here / "uap-core.json").write_text(lines + "\n", "utf-8")

    bots = json.loads((pathlib.Path(crawlers) / "crawler-user-agents.json").read_text("utf-8"))
    names = [bot["pattern"] for bot in bots]
    missing = OF_PEOPLE.difference(names)
    if missing:
        print(f"no longer in the list: {sorted(missing)}", file=sys.stderr)
    kept_names = sorted(set(names) - OF_PEOPLE)
    (here / "bots.txt").write_text("\n".join(kept_names) + "\n", "utf-8")


main(*sys.argv[1:])
