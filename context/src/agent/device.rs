//! The kind of device, by the system and by words that makers put into their agents.

/// Televisions and the boxes at them. `AFT` and `CrKey` are Amazon's and Google's.
pub(super) const TV: &[&str] = &[
    "SMART-TV",
    "SmartTV",
    "Smart TV",
    "Smart-TV",
    "HbbTV",
    "GoogleTV",
    "Google TV",
    "AppleTV",
    "Apple TV",
    "Android TV",
    "AndroidTV",
    "BRAVIA",
    "NetCast",
    "NETTV",
    "Web0S",
    "webOS.TV",
    "VIDAA",
    "Viera",
    "Roku",
    "CrKey",
    "; AFT",
    "DTV",
    "PhilipsTV",
    "MiTV",
    "MIBOX",
    "Tizen/TV",
    " TV Safari",
    "TV; ",
];
pub(super) const CONSOLES: &[&str] = &["PlayStation", "PLAYSTATION", "Xbox", "Nintendo"];
/// Watches, and glasses of virtual reality.
pub(super) const WEARABLES: &[&str] = &[
    "Apple Watch",
    "watchOS",
    "Wear OS",
    "SM-R8",
    "SM-R9",
    "OculusBrowser",
    "Quest ",
    "VisionOS",
];
pub(super) const TABLETS: &[&str] = &[
    "iPad", "PlayBook", "Kindle", "KFAPWI", "TouchPad", "Nexus 7", "Nexus 9", "Nexus 10", "SM-T",
    "SM-X",
];
pub(super) const MOBILES: &[&str] = &[
    "iPhone",
    "iPod",
    "Mobile",
    "Windows Phone",
    "IEMobile",
    "Opera Mini",
    "BlackBerry",
    "BB10",
    "KAIOS",
    "Symbian",
    "MIDP",
    "J2ME",
];
pub(super) const DESKTOP_SYSTEMS: &[&str] = &[
    "Windows",
    "Mac OS X",
    "Mac OS",
    "Linux",
    "Ubuntu",
    "Debian",
    "Fedora",
    "Red Hat",
    "CentOS",
    "SUSE",
    "Gentoo",
    "Mandriva",
    "Arch Linux",
    "Slackware",
    "Puppy",
    "Kubuntu",
    "Lubuntu",
    "Linux Mint",
    "Chrome OS",
    "FreeBSD",
    "OpenBSD",
    "NetBSD",
    "DragonFly BSD",
    "Solaris",
    "BeOS",
    "Haiku",
    "OS/2",
];

/// `desktop`, `mobile`, `tablet`, `tv`, `console`, `wearable`, `other`, or empty where neither the
/// agent nor the `browser` and `system` found in it say. An iPad that asks for the desktop's page
/// sends the agent of a Mac, and is one here.
pub(super) fn of(agent: &str, browser: &str, system: &str) -> &'static str {
    let any = |words: &[&str]| words.iter().any(|word| agent.contains(word));
    // Consoles first: an Xbox has Windows, and a PlayStation a television.
    if any(CONSOLES) {
        return "console";
    }
    if any(WEARABLES) || system == "watchOS" {
        return "wearable";
    }
    if any(TV) || system == "tvOS" {
        return "tv";
    }
    // A Windows of today with a pen still says "Tablet PC", and it is a desktop's.
    let is_windows = agent.contains("Windows NT");
    let says_tablet = !is_windows && (agent.contains("Tablet") || agent.contains("tablet"));
    if says_tablet || any(TABLETS) {
        return "tablet";
    }
    if !is_windows && any(MOBILES) {
        return "mobile";
    }
    if system == "Android" {
        // Chrome's rule: tablets leave "Mobile" out. Apps and other browsers have no such rule.
        return if agent.contains("Chrome/") {
            "tablet"
        } else {
            "mobile"
        };
    }
    if system == "iOS" || browser.contains("Mobile") {
        return "mobile";
    }
    if DESKTOP_SYSTEMS.contains(&system) {
        return "desktop";
    }
    if system.is_empty() { "" } else { "other" }
}
