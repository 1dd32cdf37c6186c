//! Language and screen, as a page tells them.

/// The class of a screen by its width in CSS pixels: `small` below 576, `medium` below 992, `large`
/// below 1440, `wide`. Reads a width (`1440`), a size (`1440x900`) or a class; anything else gives
/// an empty text.
///
/// ```
/// assert_eq!(context::locale::screen("390x844"), "small");
/// ```
#[must_use]
pub fn screen(text: &str) -> &'static str {
    const CLASSES: [&str; 4] = ["small", "medium", "large", "wide"];
    let text = text.trim();
    if let Some(class) = CLASSES.into_iter().find(|class| *class == text) {
        return class;
    }
    let width = text.split(['x', 'X', '\u{d7}']).next().unwrap_or_default();
    match width.trim().parse::<f64>() {
        Ok(width) if !(1.0..1e6).contains(&width) => "",
        Ok(width) if width < 576.0 => "small",
        Ok(width) if width < 992.0 => "medium",
        Ok(width) if width < 1440.0 => "large",
        Ok(_) => "wide",
        Err(_) => "",
    }
}

/// The first language of a tag or of an `Accept-Language` header, as `en` or `en-US` (BCP 47
/// without script and variants), into a buffer. What is no language leaves it empty.
///
/// ```
/// let mut language = String::new();
/// context::locale::language("de_ch,de;q=0.9", &mut language);
/// assert_eq!(language, "de-CH");
/// ```
pub fn language(text: &str, language: &mut String) {
    language.clear();
    let tag = text.split([',', ';']).next().unwrap_or_default().trim();
    let mut parts = tag.split(['-', '_']);
    let is_of = |part: &str, letters: std::ops::RangeInclusive<usize>| {
        letters.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    let Some(name) = parts.next().filter(|name| is_of(name, 2..=3)) else {
        return;
    };
    language.extend(name.chars().map(|char| char.to_ascii_lowercase()));
    let is_region = |part: &&str| {
        is_of(part, 2..=2) || part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    // A script has four letters, and may stand before the region.
    let mut rest = parts.skip_while(|part| is_of(part, 3..=4)).take(1);
    if let Some(region) = rest.next().filter(is_region) {
        language.push('-');
        language.extend(region.chars().map(|char| char.to_ascii_uppercase()));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_screen_has_a_class_by_its_width() {
        for (text, class) in [
            ("320x568", "small"),
            ("575.9", "small"),
            ("576", "medium"),
            ("991", "medium"),
            ("992X600", "large"),
            ("1439", "large"),
            (" 1440 x 900 ", "wide"),
            ("5120", "wide"),
            ("medium", "medium"),
            ("", ""),
            ("x", ""),
            ("0", ""),
            ("-5", ""),
            ("NaN", ""),
            ("inf", ""),
            ("1e300", ""),
            ("huge\t", ""),
        ] {
            assert_eq!(super::screen(text), class, "{text}");
        }
    }

    #[test]
    fn a_language_is_a_name_and_a_region() {
        for (text, expected) in [
            ("en", "en"),
            ("EN-us", "en-US"),
            ("zh-Hant-TW", "zh-TW"),
            ("zh-hans", "zh"),
            ("es-419", "es-419"),
            ("de_AT", "de-AT"),
            ("de-DE-1996", "de-DE"),
            ("fr;q=0.5, en", "fr"),
            ("gsw-CH", "gsw-CH"),
            (" pt-BR ", "pt-BR"),
            ("*", ""),
            ("", ""),
            ("e", ""),
            ("en-\tX", "en"),
            ("C", ""),
            ("english", ""),
        ] {
            let mut language = "before".to_owned();
            super::language(text, &mut language);
            assert_eq!(language, expected, "{text}");
        }
    }
}
