//! Text to a condition, by recursive descent: `or` binds least, then `and`, then `not`.

use super::{Compare, Expr, Literal, Name, wrong};
use crate::error::{Error, Result};

/// Conditions within conditions, at the most.
const DEPTH: usize = 64;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A word that is no text: a name or `and`, `in` and so on.
    Word(String),
    /// A name in backticks.
    Quoted(String),
    Number(Literal),
    Text(String),
    Sign(&'static str),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Word(word) => write!(f, "{word:?}"),
            Token::Quoted(name) => write!(f, "`{name}`"),
            Token::Number(number) => write!(f, "{number}"),
            Token::Text(text) => write!(f, "the text {text:?}"),
            Token::Sign(sign) => write!(f, "{sign:?}"),
        }
    }
}

/// Signs, the longer ones first.
const SIGNS: &[&str] = &["==", "!=", "<>", "<=", ">=", "&&", "||", "=", "<", ">", "(", ")", "[", "]", ",", ".", "!"];

const EXAMPLE: &str = "for example: label in [\"cat\", \"dog\"] and image.width >= 64";

/// Takes a condition apart.
pub(super) fn condition(text: &str) -> Result<Expr> {
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens, next: 0, depth: 0 };
    let expr = parser.or()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.expected("and, or, or the end")),
    }
}

/// Takes a name alone apart: `audio.count`.
pub(in crate::plan) fn name(text: &str) -> Result<Name> {
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens, next: 0, depth: 0 };
    let name = parser.name()?;
    match parser.peek() {
        None => Ok(name),
        Some(_) => Err(parser.expected("nothing more")),
    }
}

fn at(text: &str, byte: usize, what: impl std::fmt::Display) -> Error {
    let column = text.get(..byte).map_or(0, |before| before.chars().count()) + 1;
    wrong(format!("{text:?}, character {column}: {what}"), EXAMPLE)
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let place = text.len() - rest.len();
        let (token, length) = match first {
            '"' | '\'' | '`' => quoted(rest, first).ok_or_else(|| at(text, place, "a quote that nothing ends"))?,
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), end)
            }
            _ if first.is_ascii_digit() || first == '-' || first == '+' => {
                number(rest).ok_or_else(|| at(text, place, "no number"))?
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Token::Sign(sign), sign.len()),
                None => return Err(at(text, place, format_args!("{first:?} means nothing here"))),
            },
        };
        tokens.push((place, token));
        rest = &rest[length..];
    }
}

/// What stands in quotes, and its length with them. A quote within is written twice.
fn quoted(rest: &str, quote: char) -> Option<(Token, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((place, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            text.push(quote);
            chars.next();
        } else {
            let token = if quote == '`' { Token::Quoted(text) } else { Token::Text(text) };
            return Some((token, place + 1));
        }
    }
    None
}

fn number(rest: &str) -> Option<(Token, usize)> {
    let mut before = ' ';
    let within = |c: char| {
        let exponent = matches!(before, 'e' | 'E');
        before = c;
        c.is_ascii_alphanumeric() || c == '.' || c == '_' || (exponent && (c == '-' || c == '+'))
    };
    let sign = usize::from(rest.starts_with(['-', '+']));
    let mut within = within;
    let length = sign + rest[sign..].find(|c: char| !within(c)).unwrap_or(rest.len() - sign);
    let digits = rest[..length].replace('_', "");
    let int = digits.parse().ok().map(Literal::Int);
    let number = int.or_else(|| digits.parse().ok().filter(|v: &f64| v.is_finite()).map(Literal::Float))?;
    Some((Token::Number(number), length))
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn expected(&self, what: &str) -> Error {
        match self.tokens.get(self.next) {
            Some((place, token)) => at(self.text, *place, format_args!("{token} stands where {what} is expected")),
            None => at(self.text, self.text.len(), format_args!("it ends where {what} is expected")),
        }
    }

    /// Takes a sign, if it is next.
    fn sign(&mut self, any: &[&str]) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Sign(sign)) if any.contains(sign) => {
                let sign = *sign;
                self.next += 1;
                Some(sign)
            }
            _ => None,
        }
    }

    /// Takes a word in any case, if it is next.
    fn word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word));
        self.next += usize::from(is);
        is
    }

    fn or(&mut self) -> Result<Expr> {
        let mut parts = vec![self.and()?];
        while self.word("or") || self.sign(&["||"]).is_some() {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) })
    }

    fn and(&mut self) -> Result<Expr> {
        let mut parts = vec![self.not()?];
        while self.word("and") || self.sign(&["&&"]).is_some() {
            parts.push(self.not()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) })
    }

    fn not(&mut self) -> Result<Expr> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.expected(&format!("no more than {DEPTH} conditions within each other")));
        }
        let expr = if self.word("not") || self.sign(&["!"]).is_some() {
            Expr::Not(Box::new(self.not()?))
        } else if self.sign(&["("]).is_some() {
            let inner = self.or()?;
            if self.sign(&[")"]).is_none() {
                return Err(self.expected("\")\""));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn comparison(&mut self) -> Result<Expr> {
        let name = self.name()?;
        let not = |expr: Expr, negated: bool| if negated { Expr::Not(Box::new(expr)) } else { expr };
        if self.word("is") {
            let negated = self.word("not");
            if !self.word("null") {
                return Err(self.expected("null"));
            }
            return Ok(not(Expr::Null(name), negated));
        }
        if let Some(sign) = self.sign(&["==", "=", "!=", "<>", "<", "<=", ">", ">="]) {
            let compare = match sign {
                "!=" | "<>" => Compare::NotEqual,
                "<" => Compare::Less,
                "<=" => Compare::AtMost,
                ">" => Compare::Greater,
                ">=" => Compare::AtLeast,
                _ => Compare::Equal,
            };
            return Ok(Expr::Compare(name, compare, self.literal()?));
        }
        let negated = self.word("not");
        if self.word("in") {
            return Ok(not(Expr::In(name, self.list()?), negated));
        }
        if self.word("like") {
            let Literal::Text(pattern) = self.literal()? else {
                self.next -= 1;
                return Err(self.expected("a pattern in quotes"));
            };
            return Ok(not(Expr::Like(name, pattern), negated));
        }
        if negated {
            return Err(self.expected("in or like"));
        }
        Ok(Expr::True(name))
    }

    fn name(&mut self) -> Result<Name> {
        let column = self.part("a column")?;
        let fact = if self.sign(&["."]).is_some() { Some(self.part("a fact")?) } else { None };
        Ok(Name { column, fact })
    }

    fn part(&mut self, what: &str) -> Result<String> {
        match self.peek() {
            Some(Token::Word(name) | Token::Quoted(name)) => {
                let name = name.clone();
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn literal(&mut self) -> Result<Literal> {
        let literal = match self.peek() {
            Some(Token::Number(number)) => number.clone(),
            Some(Token::Text(text)) => Literal::Text(text.clone()),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("null") => {
                return Err(self.expected("a value (what is absent is asked for by `is null`)"));
            }
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Literal::Bool(true),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Literal::Bool(false),
            _ => return Err(self.expected("a number, a text in quotes, true or false")),
        };
        self.next += 1;
        Ok(literal)
    }

    fn list(&mut self) -> Result<Vec<Literal>> {
        let Some(open) = self.sign(&["[", "("]) else { return Err(self.expected("a list: [1, 2]")) };
        let close = if open == "[" { "]" } else { ")" };
        let mut list = vec![self.literal()?];
        while self.sign(&[","]).is_some() {
            list.push(self.literal()?);
        }
        if self.sign(&[close]).is_none() {
            return Err(self.expected(&format!("\",\" or {close:?}")));
        }
        Ok(list)
    }
}
