//! Commands with a parameter, once per value: `-L jobs 1,2,4 'make -j{jobs}'`.

/// A name and the values it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Stands in commands between braces.
    pub name: String,
    /// In the order in which they were given.
    pub values: Vec<String>,
}

impl Parameter {
    /// Of a list with commas; `\,` is a comma within a value, `\\` a backslash.
    #[must_use]
    pub fn of_list(name: &str, list: &str) -> Self {
        let mut values = vec![String::new()];
        let mut letters = list.chars();
        while let Some(letter) = letters.next() {
            let letter = match (letter, letters.clone().next()) {
                (',', _) => {
                    values.push(String::new());
                    continue;
                }
                ('\\', Some(escaped @ (',' | '\\'))) => {
                    letters.next();
                    escaped
                }
                _ => letter,
            };
            if let Some(last) = values.last_mut() {
                last.push(letter);
            }
        }
        Self {
            name: name.to_owned(),
            values,
        }
    }

    /// How it stands in a command.
    #[must_use]
    pub fn placeholder(&self) -> String {
        format!("{{{}}}", self.name)
    }
}

/// A command with these values, and the values that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The words.
    pub words: Vec<String>,
    /// Names and values of the parameters that stand in it.
    pub values: Vec<(String, String)>,
}

/// Each command with every combination of the values of the parameters that stand in it; the
/// commands take turns, as do hyperfine's.
#[must_use]
pub fn fill(commands: &[&[String]], parameters: &[Parameter]) -> Vec<Filled> {
    let mut combinations = vec![Vec::new()];
    for parameter in parameters {
        combinations = combinations
            .iter()
            .flat_map(|before: &Vec<(&Parameter, &String)>| {
                let with = |value| [&before[..], &[(parameter, value)]].concat();
                parameter.values.iter().map(with)
            })
            .collect();
    }
    let mut filled: Vec<(usize, Filled)> = Vec::new();
    for combination in &combinations {
        for (index, words) in commands.iter().enumerate() {
            let one = (index, fill_one(words, combination));
            // Where a parameter does not stand in a command, its values make no difference.
            if !filled.contains(&one) {
                filled.push(one);
            }
        }
    }
    filled.into_iter().map(|(_, one)| one).collect()
}

fn fill_one(words: &[String], combination: &[(&Parameter, &String)]) -> Filled {
    let mut values = Vec::new();
    for (parameter, value) in combination {
        let placeholder = parameter.placeholder();
        if words.iter().any(|word| word.contains(&placeholder)) {
            values.push((parameter.name.clone(), (*value).clone()));
        }
    }
    let words = words.iter().map(|word| substituted(word, combination));
    Filled {
        words: words.collect(),
        values,
    }
}

/// From left to right, so that what a value brings is not filled again.
fn substituted(word: &str, combination: &[(&Parameter, &String)]) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(begin) = rest.find('{') {
        let (before, from) = rest.split_at(begin);
        out.push_str(before);
        let here = combination.iter().find_map(|(parameter, value)| {
            Some((from.strip_prefix(&parameter.placeholder())?, value))
        });
        rest = if let Some((after, value)) = here {
            out.push_str(value);
            after
        } else {
            out.push('{');
            from.get(1..).unwrap_or_default()
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(commands: &[&str], parameters: &[(&str, &str)]) -> Vec<String> {
        let commands: Vec<Vec<String>> = commands
            .iter()
            .map(|command| vec![(*command).to_owned()])
            .collect();
        let commands: Vec<&[String]> = commands.iter().map(Vec::as_slice).collect();
        let parameters: Vec<Parameter> = parameters
            .iter()
            .map(|(name, list)| Parameter::of_list(name, list))
            .collect();
        fill(&commands, &parameters)
            .into_iter()
            .map(|filled| filled.words.concat())
            .collect()
    }

    /// Commas separate, unless escaped; an empty value is one.
    #[test]
    fn lists_have_values() {
        let values = |list| Parameter::of_list("x", list).values;
        assert_eq!(values("1,2"), ["1", "2"]);
        assert_eq!(values(r"a\,b,,c\\,d\e\"), ["a,b", "", r"c\", r"d\e\"]);
        assert_eq!(values(""), [""]);
    }

    /// Every combination, each command once per value that stands in it.
    #[test]
    fn commands_are_filled() {
        assert_eq!(texts(&["a"], &[]), ["a"]);
        assert_eq!(
            texts(&["a{n}", "b{n}"], &[("n", "1,2")]),
            ["a1", "b1", "a2", "b2"]
        );
        assert_eq!(texts(&["a{n}", "b"], &[("n", "1,2")]), ["a1", "b", "a2"]);
        assert_eq!(
            texts(&["{x}{y}{x}"], &[("x", "1,2"), ("y", "a,b")]),
            ["1a1", "1b1", "2a2", "2b2"]
        );
    }

    /// Braces that are no parameter stay, and a value is not filled again.
    #[test]
    fn other_braces_stay() {
        assert_eq!(
            texts(&["{ {y} {x}{ é{"], &[("x", "{y},{x}"), ("y", "v")]),
            ["{ v {y}{ é{", "{ v {x}{ é{"]
        );
    }
}
