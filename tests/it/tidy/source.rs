//! Reads one Rust file as far as the rules need it: tokens without comments and strings, which of them are test code,
//! and the paths that are named. It knows no rule, and it is no parser: macros are read as the tokens that they are.

use std::collections::BTreeSet;

/// A word or a punctuation mark of a source file.
#[derive(Debug, Clone)]
struct Token {
    text: String,
    line: usize,
}

/// A path such as `tokio::time::sleep`, with `use` groups spelled out and `self` and `super` resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Begins with `crate` if the path leads into the same crate.
    pub(super) path: Vec<String>,
    /// Counted from 1.
    pub(super) line: usize,
    /// Whether it is named in code that exists only for tests.
    pub(super) in_test: bool,
}

impl Named {
    /// Whether the path begins with these segments.
    pub(super) fn starts_with(&self, segments: &[&str]) -> bool {
        self.path.len() >= segments.len() && self.path.iter().zip(segments).all(|(have, want)| have == want)
    }

    /// Whether the segments stand next to each other anywhere in the path.
    pub(super) fn contains(&self, segments: &[&str]) -> bool {
        self.path.windows(segments.len()).any(|window| window.iter().zip(segments).all(|(have, want)| have == want))
    }
}

/// A `mod name;` that leaves its body to another file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) only_in_tests: bool,
}

/// One source file, read.
#[derive(Debug)]
pub(super) struct Source {
    tokens: Vec<Token>,
    /// Ranges of tokens under `#[cfg(test)]`; the end is exclusive.
    tests: Vec<(usize, usize)>,
    total_lines: usize,
}

impl Source {
    pub(super) fn read(text: &str) -> Self {
        let tokens = tokens(text);
        let tests = test_ranges(&tokens);
        Self { tokens, tests, total_lines: text.lines().count() }
    }

    fn in_test(&self, index: usize) -> bool {
        self.tests.iter().any(|&(start, end)| (start..end).contains(&index))
    }

    fn is(&self, index: usize, text: &str) -> bool {
        self.tokens.get(index).is_some_and(|token| token.text == text)
    }

    fn word(&self, index: usize) -> Option<&str> {
        self.tokens.get(index).map(|token| token.text.as_str()).filter(|text| is_word(text))
    }

    /// Lines of the file without those of its `#[cfg(test)]` items.
    pub(super) fn lines_without_tests(&self) -> usize {
        let mut test_lines = BTreeSet::new();
        for &(start, end) in &self.tests {
            if let (Some(first), Some(last)) = (self.tokens.get(start), self.tokens.get(end.saturating_sub(1))) {
                test_lines.extend(first.line..=last.line);
            }
        }
        self.total_lines - test_lines.len().min(self.total_lines)
    }

    /// The modules that this file expects in files of their own.
    pub(super) fn declared(&self) -> Vec<Declared> {
        (0..self.tokens.len())
            .filter(|&index| self.is(index, "mod") && self.is(index + 2, ";"))
            .filter_map(|index| {
                let name = self.word(index + 1)?.to_owned();
                Some(Declared { name, only_in_tests: self.in_test(index) })
            })
            .collect()
    }

    /// Lines on which the attribute `#[name]` or `#[name = "…"]` stands, also inside a `cfg_attr`.
    pub(super) fn attributes(&self, name: &str) -> Vec<usize> {
        let mut found = Vec::new();
        let mut index = 0;
        while index < self.tokens.len() {
            if !(self.is(index, "#") && self.is(index + 1, "[")) {
                index += 1;
                continue;
            }
            let end = after_brackets(&self.tokens, index + 1);
            let conditional = self.is(index + 2, "cfg_attr");
            let named = self.is(index + 2, name)
                || (conditional && (index + 3..end).any(|at| self.is(at, name) && self.is(at - 1, ",")));
            if named {
                found.push(self.tokens[index].line);
            }
            index = end;
        }
        found
    }

    /// Every path of two or more segments, and every `use` of one. `module` is where the file stands in its crate,
    /// empty for the crate root.
    pub(super) fn named(&self, module: &[String]) -> Vec<Named> {
        let mut found = Vec::new();
        let mut inline: Vec<(String, usize)> = Vec::new();
        let mut depth = 0;
        let mut index = 0;
        while index < self.tokens.len() {
            match self.tokens[index].text.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth -= 1_usize.min(depth);
                    inline.retain(|(_, opened_at)| *opened_at <= depth);
                }
                "mod" if self.is(index + 2, "{") => {
                    inline.extend(self.word(index + 1).map(|name| (name.to_owned(), depth + 1)));
                }
                _ if self.begins_path(index) => {
                    let mut place = module.to_vec();
                    place.extend(inline.iter().map(|(name, _)| name.clone()));
                    let from = found.len();
                    index = self.tree(index, &mut Vec::new(), &mut found);
                    for named in &mut found[from..] {
                        resolve(&mut named.path, &place);
                    }
                    continue;
                }
                _ => {}
            }
            index += 1;
        }
        found
    }

    fn begins_path(&self, index: usize) -> bool {
        if self.word(index).is_none() || self.is(index, "use") {
            return false;
        }
        let before = |back: usize| index.checked_sub(back).and_then(|at| self.tokens.get(at)).map(|t| t.text.as_str());
        match before(1) {
            // `::tokio::spawn` begins here, `a::b` and `<T as A>::b` do not.
            Some("::") => self.is(index + 1, "::") && !before(2).is_some_and(|text| is_word(text) || text == ">"),
            Some("use") => true,
            _ => self.is(index + 1, "::"),
        }
    }

    /// Reads the path or the `use` tree at `index` and gives the index after it.
    fn tree(&self, mut index: usize, prefix: &mut Vec<String>, found: &mut Vec<Named>) -> usize {
        let depth = prefix.len();
        let line = self.tokens.get(index).map_or(0, |token| token.line);
        let in_test = self.in_test(index);
        loop {
            if self.is(index, "{") {
                index += 1;
                while index < self.tokens.len() && !self.is(index, "}") {
                    let next = self.tree(index, prefix, found);
                    // What is not part of a path (a comma, `as name`) is stepped over.
                    index = next.max(index + usize::from(next == index));
                }
                index += 1;
                break;
            }
            let segment = if self.is(index, "*") { Some("*") } else { self.word(index) };
            match segment {
                Some("as") => {
                    index += 2;
                    break;
                }
                Some(segment) => prefix.push(segment.to_owned()),
                None => break,
            }
            index += 1;
            if self.is(index, "::") && !self.is(index + 1, "<") {
                index += 1;
                continue;
            }
            // `{self}` names the group's own prefix.
            let mut path = prefix.clone();
            if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            found.push(Named { path, line, in_test });
            break;
        }
        prefix.truncate(depth);
        index
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}

/// Turns `self::` and `super::` into `crate::`; `place` is the module in which the path was written.
fn resolve(path: &mut Vec<String>, place: &[String]) {
    let supers = path.iter().take_while(|segment| *segment == "super" || *segment == "self").count();
    if supers == 0 {
        return;
    }
    let up = path[..supers].iter().filter(|segment| *segment == "super").count();
    let kept = place.len().saturating_sub(up);
    let mut whole = vec!["crate".to_owned()];
    whole.extend_from_slice(&place[..kept]);
    whole.extend(path.drain(..).skip(supers));
    *path = whole;
}

/// The index after the bracket that closes the one at `open`.
fn after_brackets(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Ranges of the items under `#[cfg(test)]`, from the attribute to the item's last token.
fn test_ranges(tokens: &[Token]) -> Vec<(usize, usize)> {
    const MARK: [&str; 6] = ["[", "cfg", "(", "test", ")", "]"];
    let is_mark = |at: usize| {
        tokens
            .get(at..at + MARK.len())
            .is_some_and(|found| found.iter().zip(MARK).all(|(token, want)| token.text == want))
    };
    let mut ranges = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if tokens[index].text != "#" {
            index += 1;
        } else if tokens.get(index + 1).is_some_and(|token| token.text == "!") && is_mark(index + 2) {
            return vec![(0, tokens.len())];
        } else if is_mark(index + 1) {
            let end = item_end(tokens, index + 1 + MARK.len());
            ranges.push((index, end));
            index = end;
        } else {
            index += 1;
        }
    }
    ranges
}

/// The index after the item at `index`: its other attributes, then all up to a `;` or a closed block.
fn item_end(tokens: &[Token], mut index: usize) -> usize {
    while tokens.get(index).is_some_and(|token| token.text == "#") {
        index = after_brackets(tokens, index + 1);
    }
    while let Some(token) = tokens.get(index) {
        match token.text.as_str() {
            ";" => return index + 1,
            "{" => return after_brackets(tokens, index),
            "(" | "[" => index = after_brackets(tokens, index),
            // The end of what surrounds the item: it was a field or a variant.
            "}" => return index,
            _ => index += 1,
        }
    }
    tokens.len()
}

/// Cuts the text into tokens. Comments are gone; a string or character literal is the one token `""`.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut index = 0;
    while index < chars.len() {
        let start = index;
        let mut token = None;
        match (at(index), at(index + 1)) {
            ('/', '/') => index = end_of_line(&chars, index),
            ('/', '*') => index = end_of_comment(&chars, index),
            ('"', _) => {
                index = end_of_quoted(&chars, index, '"');
                token = Some("\"\"".to_owned());
            }
            ('\'', '\\') => {
                index = end_of_quoted(&chars, index, '\'');
                token = Some("\"\"".to_owned());
            }
            ('\'', _) if at(index + 2) == '\'' => {
                index += 3;
                token = Some("\"\"".to_owned());
            }
            (':', ':') => {
                index += 2;
                token = Some("::".to_owned());
            }
            (first, _) if first.is_alphanumeric() || first == '_' => {
                while at(index).is_alphanumeric() || at(index) == '_' {
                    index += 1;
                }
                let word: String = chars[start..index].iter().collect();
                let raw = matches!(word.as_str(), "r" | "br" | "cr");
                if let Some(end) = raw.then(|| end_of_raw(&chars, index)).flatten() {
                    index = end;
                    token = Some("\"\"".to_owned());
                } else if !(raw && at(index) == '#') {
                    // A raw identifier is read as the word after its `r#`.
                    token = Some(word);
                }
            }
            // The mark of a lifetime and the `#` of a raw identifier carry no meaning here.
            ('\'', _) => index += 1,
            ('#', _) if index > 0 && at(index - 1) == 'r' => index += 1,
            (other, _) => {
                index += 1;
                token = (!other.is_whitespace()).then(|| other.to_string());
            }
        }
        tokens.extend(token.map(|text| Token { text, line }));
        line += chars[start..index.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn end_of_line(chars: &[char], from: usize) -> usize {
    chars[from..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| from + length)
}

fn end_of_comment(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut index = from;
    while index + 1 < chars.len() {
        match (chars[index], chars[index + 1]) {
            ('/', '*') => {
                depth += 1;
                index += 2;
            }
            ('*', '/') => {
                depth -= 1;
                index += 2;
                if depth == 0 {
                    return index;
                }
            }
            _ => index += 1,
        }
    }
    chars.len()
}

fn end_of_quoted(chars: &[char], from: usize, quote: char) -> usize {
    let mut index = from + 1;
    while index < chars.len() {
        match chars[index] {
            '\\' => index += 2,
            c if c == quote => return index + 1,
            _ => index += 1,
        }
    }
    chars.len()
}

/// The end of the raw string whose `#` or `"` stands at `from`, if it is one.
fn end_of_raw(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars[from..].iter().take_while(|c| **c == '#').count();
    if chars.get(from + hashes) != Some(&'"') {
        return None;
    }
    let body = from + hashes + 1;
    (body..chars.len())
        .find(|&index| {
            chars[index] == '"' && chars[index + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        })
        .map(|index| index + 1 + hashes)
        .or(Some(chars.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<String> = module.iter().map(|name| (*name).to_owned()).collect();
        Source::read(text).named(&module).into_iter().map(|named| named.path.join("::")).collect()
    }

    #[test]
    fn use_groups_are_spelled_out() {
        assert_eq!(
            paths("use crate::{ids::{RoomId, self}, clock as c, hub::*};\nuse axum;", &[]),
            ["crate::ids::RoomId", "crate::ids", "crate::clock", "crate::hub::*", "axum"]
        );
    }

    #[test]
    fn inline_paths_and_macros_are_paths_too() {
        assert_eq!(
            paths("fn f(a: &crate::hub::Hub) -> Vec::<u8> { ::tokio::select! { x::<u8>() } }", &[]),
            ["crate::hub::Hub", "Vec", "tokio::select", "x"]
        );
    }

    #[test]
    fn comments_strings_and_lifetimes_hide_nothing_and_invent_nothing() {
        let text = "// crate::a\n/* /* crate::b */ */ \"crate::c \\\" \" r#\"crate::d \"\"# b'\"' '\"' '\\'' fn g<'a>(r#type: crate::e::E) {}";
        assert_eq!(paths(text, &[]), ["crate::e::E"]);
    }

    #[test]
    fn super_leads_to_the_module_that_it_means() {
        let text =
            "use super::Hub; use self::inner::X; mod tests { use super::*; use super::super::clock; } use super::z;";
        assert_eq!(
            paths(text, &["hub", "room"]),
            [
                "crate::hub::Hub",
                "crate::hub::room::inner::X",
                "crate::hub::room::*",
                "crate::hub::clock",
                "crate::hub::z"
            ]
        );
    }

    #[test]
    fn test_items_are_told_from_the_rest() {
        let text = "use a::b;\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn f(x: [u8; 3]) { c::d() }\n}\nuse e::f;\n#[cfg(test)]\nuse g::h;\nuse i::j;\n";
        let source = Source::read(text);
        let test_paths: Vec<_> =
            source.named(&[]).into_iter().filter(|named| named.in_test).map(|named| named.path.join("::")).collect();
        assert_eq!(test_paths, ["c::d", "g::h"]);
        assert_eq!(source.lines_without_tests(), 3);
        assert!(Source::read("#![cfg(test)]\nuse a::b;\n").named(&[])[0].in_test);
    }

    #[test]
    fn declarations_and_attributes_are_found() {
        let source = Source::read(
            "mod a;\npub(crate) mod b { }\n#[cfg(test)]\nmod tests;\n#[ignore = \"x\"]\nfn f() {}\n#[cfg_attr(unix, ignore)]\nfn g() {}",
        );
        assert_eq!(
            source.declared(),
            [
                Declared { name: "a".into(), only_in_tests: false },
                Declared { name: "tests".into(), only_in_tests: true }
            ]
        );
        assert_eq!(source.attributes("ignore"), [5, 7]);
    }
}
