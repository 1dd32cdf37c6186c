#!/usr/bin/env python3
"""Counts an access log without weir, and compares the figures with those of a running weir.

    python3 -m venv venv && venv/bin/pip install -r docs/access-logs/requirements.txt
    venv/bin/python docs/access-logs/count.py access.log http://127.0.0.1:3001 my-site

Give it the options that `weir import` had. The rules are those of docs/access-logs.md, written a
second time: the data files of the crate context are shared with weir, code is not. Browsers and
systems are found by the uap project's own parser, countries by MaxMind's. Exits with 1 if a figure
differs.
"""

import argparse
import collections
import datetime
import functools
import gzip
import ipaddress
import json
import pathlib
import re
import sys
import unicodedata
import urllib.error
import urllib.parse
import urllib.request

import ua_parser
from ua_parser.basic import Resolver
from ua_parser.loaders import load_builtins

CONTEXT = pathlib.Path(__file__).resolve().parents[2] / "context"
LINE_BYTES_MAX = 64 * 1024
AGENT_BYTES_MAX = 512
PATH_BYTES_MAX = 2048
REFERRER_BYTES_MAX = 2048
VALUE_BYTES_MAX = 255
NAME_BYTES_MAX = 48
# The most rows that one answer of weir has.
ROWS_MAX = 1000


def cut(text, bytes_max):
    return text.encode()[:bytes_max].decode(errors="ignore")


# Lines of the log

QUOTED = rb'"((?:[^"\\]|\\.)*)"'
COMBINED = re.compile(
    rb"(?P<client>[^ ]*) (?:.*?) \[(?P<time>[^\]]*)\] "
    + QUOTED.replace(b"((", b"(?P<request>(")
    + rb" (?P<status>\d{3}) (?:\d+|-) "
    + QUOTED.replace(b"((", b"(?P<referrer>(")
    + b" "
    + QUOTED.replace(b"((", b"(?P<agent>("),
    re.DOTALL,
)
ASSETS = tuple(
    ".css .js .png .jpg .jpeg .gif .ico .svg .woff .woff2 .ttf .map .xml .txt .pdf .zip .gz .tar "
    ".mp4 .webm".split()
)

View = collections.namedtuple("View", "time client target referrer agent")


def lines_of(file):
    with open(file, "rb") as opened:
        is_packed = opened.read(2) == b"\x1f\x8b"
    with (gzip.open if is_packed else open)(file, "rb") as opened:
        for line in opened:
            yield line.removesuffix(b"\n").removesuffix(b"\r")


def read_line(line):
    """The fields of a line, or None if it is malformed."""
    found = COMBINED.match(line) if len(line) <= LINE_BYTES_MAX else None
    try:
        line.decode()
        fields = {name: text.decode() for name, text in found.groupdict().items()}
        fields["time"] = datetime.datetime.strptime(fields["time"], "%d/%b/%Y:%H:%M:%S %z")
    except (AttributeError, ValueError):
        return None
    for name in ("referrer", "agent"):
        fields[name] = "" if fields[name] == "-" else fields[name].replace('\\"', '"')
    return fields


def path_and_rest(target):
    """The target without its host."""
    if re.match("https?://", target, re.IGNORECASE):
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    return re.sub("^/+", "/", target)


def is_page_view(method, target, status):
    path = re.split("[?#]", path_and_rest(target), maxsplit=1)[0].lower()
    is_page = path.startswith("/") and not path.endswith(ASSETS)
    return method == "GET" and status < 400 and is_page


def page_views(file, tally):
    for line in lines_of(file):
        tally["lines"] += 1
        fields = read_line(line)
        if fields is None:
            tally["malformed lines"] += 1
            continue
        method, target, *_ = fields["request"].split(" ") + [""]
        if not is_page_view(method, target, int(fields["status"])):
            tally["other requests"] += 1
            continue
        if len(re.split("[?#]", path_and_rest(target))[0].encode()) > PATH_BYTES_MAX:
            tally["refused page views"] += 1
            continue
        tally["page views"] += 1
        time = fields["time"].astimezone(datetime.timezone.utc)
        yield View(time, fields["client"], target, fields["referrer"], fields["agent"])


# Page and source


def unicode_of(host):
    labels = host.lower().split(".")
    return ".".join(
        label[4:].encode().decode("punycode") if label.startswith("xn--") else label
        for label in labels
    )


def host_of(authority):
    authority = authority.rpartition("@")[2]
    port = re.search(r":(\d{0,5})$", authority)
    host = authority[: port.start()] if port and not authority.endswith("]") else authority
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
            return host.lower()
        host = unicode_of(host.removesuffix("."))
    except ValueError:
        return ""
    labels = host.split(".")
    is_host = all(re.fullmatch(r"[\w-]+", label) for label in labels) and len(host.encode()) <= 253
    return host if is_host else ""


def without_www(host):
    rest = host.removeprefix("www.")
    return rest if "." in rest else host


def address_of(url):
    """Authority, path, query and fragment. The authority is None where there is no URL."""
    url = url.strip()
    found = re.match(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//([^/?#\\]*)", url)
    authority = found[1] if found else ""
    if not found and not url.startswith("/"):
        return None, "", "", ""
    rest, _, fragment = url[found.end() if found else 0 :].partition("#")
    path, _, query = rest.partition("?")
    return authority, path, query, fragment


def path_form(path):
    def decoded(escapes):
        text = bytes.fromhex(escapes[0].replace("%", "")).decode(errors="surrogateescape")
        return "".join(
            urllib.parse.quote(character, safe="", errors="surrogateescape")
            if character in "/?#%" or spoils_a_line(character) or "\ud7ff" < character < "\ue000"
            else character
            for character in text
        )

    path = re.sub(r"(?:%[0-9A-Fa-f]{2})+", decoded, "/" + path.lstrip("/"))
    return cut(unicodedata.normalize("NFC", path), PATH_BYTES_MAX)


def route_of(fragment):
    """The route of a hash router, which is a part of the path."""
    route = re.match(r"!?/[^?#]*", fragment)
    has_route = route and route[0].strip("!/")
    return "#" + path_form(route[0])[1 if route[0].startswith("!") else 0 :] if has_route else ""


def spoils_a_line(character):
    return unicodedata.category(character) in ("Cc", "Zl", "Zp") or character in (
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    )


def value(text):
    text = "".join(" " if spoils_a_line(character) else character for character in text.strip())
    return cut(unicodedata.normalize("NFC", text).strip(), VALUE_BYTES_MAX).rstrip()


class Sources:
    """The table of known sources."""

    def __init__(self):
        self.by_name, self.by_host, self.by_host_below, self.category = {}, {}, {}, {}
        for line in (CONTEXT / "src/page/sources.txt").read_text("utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            name, category, keys = line.split(" | ")
            self.category[name] = category
            self.by_name[name.lower()] = name
            for key in keys.split(" "):
                if "." not in key:
                    self.by_name[key] = self.by_name[key.replace("_", " ")] = name
                elif key.startswith("."):
                    self.by_host_below[key[1:]] = name
                else:
                    self.by_host[key] = name

    def of_host(self, host):
        host = without_www(host).removeprefix("m.")
        any_country = re.sub(r"\.(?:(?:com|co)\.[^.]{2}|[^.]{2,3})$", ".*", host)
        for exact in (host, any_country):
            if exact in self.by_host:
                return self.by_host[exact]
        for known in (host, any_country):
            labels = known.split(".")
            for start in range(len(labels)):
                below = ".".join(labels[start:])
                if below in self.by_host_below:
                    return self.by_host_below[below]
        return None

    def of_name(self, name):
        lower = name.lower()
        return self.by_name.get(lower) or ("." in lower and self.of_host(lower)) or None


SOURCES = Sources()
UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")


def parameters(*queries):
    found = {}
    for query in queries:
        for pair in query.split("&"):
            name, has_value, text = pair.partition("=")
            if has_value and (text or name in ("gclid", "gbraid", "wbraid", "msclkid")):
                found.setdefault(name, value(urllib.parse.unquote_plus(text)))
    return found


def source_of(view, own_host):
    """The page's properties, and what is known of where the visitor came from."""
    authority, *_ = address_of(view.target)
    _, path, query, fragment = address_of(path_and_rest(view.target))
    is_url = not view.target.startswith("/")
    hostname = own_host or (host_of(authority or "") if is_url else "")
    sent = parameters(query, fragment.partition("?")[2])
    properties = {name: sent.get(name, "") for name in UTM}
    properties["hostname"] = hostname
    properties["path"] = path_form(path) + route_of(fragment)

    clicked = "Google" if {"gclid", "gbraid", "wbraid"} & sent.keys() else ""
    clicked = clicked or ("Bing" if "msclkid" in sent else "")
    named = next(
        ((name, sent[name]) for name in ("utm_source", "source", "ref") if sent.get(name)), None
    )
    referrer_host = host_of_referrer(view.referrer)
    source, way = "", "direct"
    if named:
        name, text = named
        host = host_of(address_of(text)[0] or "") if "://" in text else ""
        known = SOURCES.of_name(text) or host and (SOURCES.of_host(host) or without_www(host))
        source, way = known or text, "campaign" if name == "utm_source" else "site"
    elif referrer_host and without_www(referrer_host) == without_www(hostname):
        way = "inside"
    elif referrer_host:
        source, way = SOURCES.of_host(referrer_host) or without_www(referrer_host), "site"
    elif clicked:
        source, way = clicked, "campaign"
    properties["source"] = source
    channel = channel_of(source, properties, clicked == source and clicked, way == "site")
    properties["channel"] = "" if way == "inside" and channel == "Direct" else channel
    return properties


def host_of_referrer(referrer):
    authority, *_ = address_of(referrer)
    if authority is None:
        host = host_of(re.split(r"[/?#\\]", referrer.strip(), maxsplit=1)[0])
        return host if "." in host else ""
    return host_of(authority)


def channel_of(source, properties, clicked, is_referred):
    """Google Analytics 4's default channel group, by the expressions that Google documents."""
    medium, campaign = properties["utm_medium"].lower(), properties["utm_campaign"].lower()
    name, category = source.lower(), SOURCES.category.get(source)
    is_unset = medium in ("", "(none)", "(not set)")
    is_paid = re.match(r"^(.*cp.*|ppc|retargeting|paid.*)$", medium)
    is_shop = category == "shopping" or re.match(r"^(.*(([^a-df-z]|^)shop|shopping).*)$", campaign)
    email = r"^(email|e-mail|e_mail|e mail)$"
    social = r"^(social|social-network|social-media|sm|social network|social media)$"
    rules = (
        ("Direct", is_unset and name in ("", "(direct)")),
        ("Cross-network", "cross-network" in campaign),
        ("Paid Shopping", is_paid and is_shop),
        ("Paid Search", category == "search" and (is_paid or is_unset and clicked)),
        ("Paid Social", is_paid and category == "social"),
        ("Paid Video", is_paid and category == "video"),
        ("Display", medium in ("display", "banner", "expandable", "interstitial", "cpm")),
        ("Paid Other", is_paid),
        ("AI Assistant", category == "assistant" or medium == "ai-assistant"),
        ("Organic Shopping", is_shop),
        ("Organic Social", category == "social" or re.match(social, medium)),
        ("Organic Video", category == "video" or "video" in medium),
        ("Organic Search", category == "search" or medium == "organic"),
        ("Referral", medium in ("referral", "app", "link")),
        ("Email", category == "email" or any(re.match(email, text) for text in (medium, name))),
        ("Affiliates", medium == "affiliate"),
        ("Audio", medium == "audio"),
        ("SMS", "sms" in (medium, name)),
        (
            "Mobile Push Notifications",
            re.search("push$|mobile|notification", medium) or name == "firebase",
        ),
        ("Referral", is_unset and is_referred),
    )
    return next((channel for channel, holds in rules if holds), "Unassigned")


# Agents

NO_AGENT = "No user agent"
MATCHERS = load_builtins()


def unbounded(matcher):
    """A matcher as weir's engine of expressions reads it: `.{0,200}` is `.*`.

    The bounds are there for engines whose time grows with them, and matter for agents that are
    longer than they are.
    """
    pattern = re.sub(r"\{0,\d{3,}\}", "*", matcher.regex)
    matcher.pattern = re.compile(re.sub(r"\{1,\d{3,}\}", "+", pattern), matcher.pattern.flags)
    return matcher


def check_patterns():
    """Both parsers have to have the same version of the patterns."""
    own = json.loads((CONTEXT / "data/uap-core.json").read_text("utf-8"))
    for matchers, parsers in zip(MATCHERS, (own["user_agent_parsers"], own["os_parsers"])):
        if [matcher.regex for matcher in matchers] != [parser["regex"] for parser in parsers]:
            sys.exit("ua-parser-builtins has other patterns than context/data/uap-core.json")


check_patterns()
PARSER = ua_parser.Parser(
    Resolver(tuple([unbounded(matcher) for matcher in matchers] for matchers in MATCHERS))
)

BROWSERS_BEGIN_WITH = (
    *("Mozilla/", "Opera/", "Lynx/", "Links ", "ELinks", "w3m/", "Dillo/", "NetSurf/", "UCWEB"),
    "Dalvik/",
)
TELEPHONES = re.compile(
    "Browser|MIDP|DoCoMo|NetFront|SymbianOS|BlackBerry|Nokia|SonyEricsson|SAMSUNG|Samsung|samsung|"
    "HTC|LG-|MOT-|FBAN/"
)
FEED_READERS = (
    *("Akregator", "Daumoa", "Digg Feed Fetcher", "FeedDemon", "Google favicon", "Liferea"),
    *("NetNewsWire", "Newsboat", "RSSOwl", "newsbeuter"),
)
CONSOLES = re.compile("PlayStation|PLAYSTATION|Xbox|Nintendo")
WEARABLES = re.compile(
    "Apple Watch|watchOS|Wear OS|SM-R8|SM-R9|OculusBrowser|Quest |VisionOS"
)
TVS = re.compile(
    "SMART-TV|SmartTV|Smart TV|Smart-TV|HbbTV|GoogleTV|Google TV|AppleTV|Apple TV|Android TV|"
    r"AndroidTV|BRAVIA|NetCast|NETTV|Web0S|webOS\.TV|VIDAA|Viera|Roku|CrKey|; AFT|DTV|PhilipsTV|"
    "MiTV|MIBOX|Tizen/TV| TV Safari|TV; "
)
TABLETS = re.compile(
    "iPad|PlayBook|Kindle|KFAPWI|TouchPad|Nexus 7|Nexus 9|Nexus 10|SM-T|SM-X"
)
MOBILES = re.compile(
    "iPhone|iPod|Mobile|Windows Phone|IEMobile|Opera Mini|BlackBerry|BB10|KAIOS|Symbian|MIDP|J2ME"
)
DESKTOP_SYSTEMS = {
    *("Windows", "Mac OS X", "Mac OS", "Linux", "Ubuntu", "Debian", "Fedora", "Red Hat", "CentOS"),
    *("SUSE", "Gentoo", "Mandriva", "Arch Linux", "Slackware", "Puppy", "Kubuntu", "Lubuntu"),
    *("Linux Mint", "Chrome OS", "FreeBSD", "OpenBSD", "NetBSD", "DragonFly BSD", "Solaris"),
    *("BeOS", "Haiku", "OS/2"),
}


class CrawlerList:
    """The list of crawlers: texts, which are found where a word starts, and expressions."""

    def __init__(self):
        patterns = (CONTEXT / "data/bots.txt").read_text("utf-8").splitlines()
        self.texts, expressions = list(FEED_READERS), []
        for pattern in patterns:
            unescaped = re.sub(r"\\(\W)", r"\1", pattern)
            is_text = not re.search(r"[\^$.*+?|()\[\]{}]|\\\w", re.sub(r"\\\W", "", pattern))
            (self.texts if is_text else expressions).append(unescaped if is_text else pattern)
        self.expressions = re.compile("|".join(f"(?:{pattern})" for pattern in expressions))

    def name(self, agent):
        found = [
            (len(text.encode()), start + len(text), text)
            for text in self.texts
            for start in starts_of(text, agent)
            if start == 0 or not agent[start - 1].isalnum()
        ]
        expression = None if found else self.expressions.search(agent)
        if not found and not expression:
            return ""
        name = trimmed(max(found)[2] if found else expression[0])
        return product(agent) if "/" in name else name


def starts_of(text, agent):
    return (found.start() for found in re.finditer(re.escape(text), agent))


def trimmed(text):
    return re.sub(r"^[\W_]+|[\W_]+$", "", text)


CRAWLERS = CrawlerList()
GENERAL = {
    *("bot", "bots", "robot", "robots", "crawl", "crawler", "spider", "webcrawler", "web-crawler")
}


def bot_word(agent):
    """The first word that says bot, crawler or spider, and where it starts."""
    for word in re.finditer(r"[a-z0-9_.!-]+", agent, re.IGNORECASE):
        ends = [
            found.end()
            for found in re.finditer(r"bots?(?!\w)|bots?[_-]|crawl|spider", agent, re.IGNORECASE)
            if word.start() <= found.start() < word.end()
        ]
        if ends and not word[0].lower().startswith("cubot"):
            rest = re.match(r"[a-z0-9_-]*", agent[ends[-1] :], re.IGNORECASE)
            return word.start(), agent[word.start() : ends[-1]] + rest[0]
    return None


def bot_of(agent, browser, system):
    found = bot_word(agent)
    if found:
        start, word = found
        is_of_an_address = agent[:start].endswith(("/", "@", "=", "?"))
        if trimmed(word).lower() not in GENERAL and not is_of_an_address:
            return trimmed(word)
    listed = CRAWLERS.name(agent)
    if listed:
        return listed
    if found:
        before = re.search(r"([\w.]+)\s+$", agent[:start])
        if before and not is_of_an_address:
            return before[0] + trimmed(word)
        return product(agent)
    is_a_tool = (
        not system
        and agent[0].isalnum()
        and not agent.startswith(BROWSERS_BEGIN_WITH)
        and not TELEPHONES.search(agent)
    )
    is_unknown = "compatible; " in agent and not browser and not system
    if is_a_tool or "+http" in agent or is_unknown:
        return product(agent)
    return ""


def product(agent):
    """What an agent calls itself."""
    if "compatible; " in agent:
        name = agent.partition("compatible; ")[2]
    elif not agent.startswith("Mozilla"):
        name = agent
    else:
        page = re.search(r"://(?:www\.)*([^/);, ]*)", agent)
        name = page[1] if page else ""
    name = re.split(r"[/();,+<\[|]", name, maxsplit=1)[0].partition(" - ")[0]
    return re.sub(r" [0-9][^ ]*$", "", name).strip() or "Unknown"


def device_of(agent, browser, system):
    is_windows = "Windows NT" in agent
    if CONSOLES.search(agent):
        return "console"
    if WEARABLES.search(agent) or system == "watchOS":
        return "wearable"
    if TVS.search(agent) or system == "tvOS":
        return "tv"
    if not is_windows and re.search("[Tt]ablet", agent) or TABLETS.search(agent):
        return "tablet"
    if not is_windows and MOBILES.search(agent):
        return "mobile"
    if system == "Android":
        return "tablet" if "Chrome/" in agent else "mobile"
    if system == "iOS" or "Mobile" in browser:
        return "mobile"
    if system in DESKTOP_SYSTEMS:
        return "desktop"
    return "other" if system else ""


@functools.cache
def agent_of(agent):
    agent = cut(agent.strip(" \t"), AGENT_BYTES_MAX)
    names = ("browser", "browser_version", "system", "device", "bot")
    if agent in ("", "-"):
        return dict.fromkeys(names, "") | {"bot": NO_AGENT}
    browser, system = PARSER.parse_user_agent(agent), PARSER.parse_os(agent)
    version = browser.major if browser and browser.major else ""
    browser, system = browser.family if browser else "", system.family if system else ""
    values = (
        name_of(browser),
        version if re.fullmatch("[0-9]{1,5}", version) else "",
        name_of(system),
        device_of(agent, browser, system),
        name_of(bot_of(agent, browser, system)),
    )
    return dict(zip(names, values))


def name_of(text):
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", cut(text.strip(), NAME_BYTES_MAX)).strip()


# Figures


class Countries:
    def __init__(self, file):
        import maxminddb

        self.reader = maxminddb.open_database(file)

    def of(self, client):
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return ""
        address = getattr(address, "ipv4_mapped", None) or address
        record = self.reader.get(str(address)) if address.is_global else None
        record = record or {}
        return record.get("country_code") or record.get("country", {}).get("iso_code") or ""


class Figures:
    """Views and visitors, of everything and by each value of each property."""

    def __init__(self):
        self.views = collections.Counter()
        self.visitors = collections.defaultdict(set)

    def add(self, key, visitor):
        self.views[key] += 1
        self.visitors[key].add(visitor)

    def of(self, group):
        return {
            key[1]: (views, len(self.visitors[key]))
            for key, views in self.views.items()
            if key[0] == group
        }


def count(options):
    tally, countries = collections.Counter(), None
    if options.countries:
        countries = Countries(options.countries)
    figures = {"exclude": Figures(), "only": Figures(), "include": Figures()}
    for view in page_views(options.log, tally):
        agent = agent_of(view.agent)
        properties = agent | source_of(view, options.hostname)
        if countries:
            properties["country"] = countries.of(view.client)
        day = view.time.date().isoformat()
        visitor = (day, client_of(view.client), cut(view.agent, AGENT_BYTES_MAX))
        groups = list(properties.items()) + [
            ("all", "all"),
            ("day", day),
            ("hour", view.time.strftime("%Y-%m-%dT%H")),
        ]
        for of_bots in ("only" if agent["bot"] else "exclude", "include"):
            for group in groups:
                figures[of_bots].add(group, visitor)
    return tally, figures


def client_of(text):
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    return getattr(address, "ipv4_mapped", None) or address


# Comparison


class Weir:
    def __init__(self, address, site_id, key):
        self.address, self.site_id, self.key = address.rstrip("/"), site_id, key

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode({"site_id": self.site_id, "exact": "true"} | parameters)
        request = urllib.request.Request(f"{self.address}{path}?{query}")
        if self.key:
            request.add_header("authorization", f"Bearer {self.key}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            sys.exit(f"{request.full_url} answered {error.code}: {error.read().decode()}")
        except urllib.error.URLError as error:
            sys.exit(f"{self.address} did not answer: {error.reason}. Is it weir's query service?")

    def all(self, bots):
        answer = self.ask("/stats", bots=bots)
        return {"all": (answer["total_views"], answer["unique_users"])}

    def breakdown(self, bots, name):
        rows, page, total = {}, 1, 1
        while len(rows) < total:
            answer = self.ask(
                "/stats/breakdown", property=name, bots=bots, limit=ROWS_MAX, page=page
            )
            if page > 1 and not answer["rows"]:
                sys.exit(f"page {page} of {name} has no rows of {total}")
            rows |= {row["value"]: (row["views"], row["unique_users"]) for row in answer["rows"]}
            total, page = answer["total"], page + 1
        return rows

    def points(self, bots, interval, start, end):
        answer = self.ask(
            "/stats/timeseries", interval=interval, bots=bots, start_date=start, end_date=end
        )
        digits = {"day": 10, "hour": 13}[interval]
        points = {
            point["time"][:digits]: (point["views"], point["unique_users"])
            for point in answer["points"]
        }
        return {time: figures for time, figures in points.items() if figures != (0, 0)}


def compare(figures, weir, with_countries, shows_all):
    """Prints the table, and returns how many figures were compared and how many differ."""
    compared = differing = 0
    days = figures["include"].of("day")
    properties = ["source", "channel", *UTM, "hostname", "path", "browser", "browser_version"]
    properties += ["system", "device", "bot"] + ["country"] * with_countries
    print(f"{'figure':<58} {'counted':>16} {'weir':>16}")
    for bots, counted in figures.items():
        theirs = {"all": weir.all(bots)}
        if days:
            theirs["day"] = weir.points(bots, "day", min(days), max(days))
            theirs["hour"] = {}
            for day in days:
                theirs["hour"] |= weir.points(bots, "hour", day, day)
        for name in properties:
            theirs[name] = weir.breakdown(bots, name)
        for group, of_weir in theirs.items():
            own = counted.of(group)
            by_views = sorted((-own.get(row, (0,))[0], row) for row in own.keys() | of_weir.keys())
            wrong = 0
            for number, (_, row) in enumerate(by_views):
                left, right = own.get(row, (0, 0)), of_weir.get(row, (0, 0))
                is_equal = left == right
                wrong += not is_equal
                if not is_equal or shows_all or number < 3:
                    label = f"bots={bots} {group} {row!r}" if group != "all" else f"bots={bots}"
                    verdict = "equal" if is_equal else "DIFFERS"
                    print(f"{label[:58]:<58} {show(left)} {show(right)} {verdict}")
            print(f"bots={bots} {group}: {len(by_views)} rows, {wrong} differ")
            compared += len(by_views)
            differing += wrong
    return compared, differing


def show(figures):
    views, visitors = figures
    return f"{views:>8} {visitors:>7}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", help="the access log, plain or gzip")
    parser.add_argument("query", help="the address of weir's query service")
    parser.add_argument("site_id", help="the site that it was imported as")
    parser.add_argument("--hostname", help="as given to weir import")
    parser.add_argument("--countries", metavar="FILE", help="the MMDB file that weir uses")
    parser.add_argument("--key", help="a read key, where weir asks for one")
    parser.add_argument("--all", action="store_true", help="print all rows, not three a list")
    options = parser.parse_args()
    for file in filter(None, (options.log, options.countries)):
        if not pathlib.Path(file).is_file():
            parser.error(f"{file} is not a file")

    tally, figures = count(options)
    for name in ("lines", "page views", "refused page views", "other requests", "malformed lines"):
        print(f"{name}: {tally[name]}")
    print("views and visitors of each:")
    weir = Weir(options.query, options.site_id, options.key)
    compared, differing = compare(figures, weir, bool(options.countries), options.all)
    print(f"{compared} rows compared, {differing} differ")
    sys.exit(differing > 0)


if __name__ == "__main__":
    main()
