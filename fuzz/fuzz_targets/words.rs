//! The words of any text: the fast way finds what the plain one does, what was signed is held, and
//! what is found by a term was signed.
#![no_main]

use faultline_actors::domain::words::{
    Word, each_word, signature::{may_hold, sign}, terms::Terms, without_escapes,
};
use libfuzzer_sys::fuzz_target;

fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    each_word(text, &mut String::new(), |word| {
        words.push(word);
        true
    });
    words
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (text, asked) = text.split_once('\n').unwrap_or((&text, ""));
    let all = words(text);

    // One letter that is not ASCII sends the same text the plain way.
    let mut slowly = words(&format!("{text} é"));
    slowly.pop();
    assert_eq!(slowly, all);

    let signature = sign(&all);
    assert!(all.iter().all(|word| may_hold(&signature, *word)));

    if let Ok(terms) = Terms::parse(asked)
        && terms.occur_in(&[text])
    {
        assert!(terms.words().all(|word| may_hold(&signature, word)));
    }
    for word in text.split(|character: char| !character.is_ascii_alphanumeric()) {
        if text.is_ascii() && word.len() <= Terms::MAX_BYTES {
            assert!(Terms::parse(word).expect("it is short").occur_in(&[text]));
        }
    }

    let json = serde_json::to_string(text).expect("text has a JSON form");
    assert_eq!(words(without_escapes(&json).as_deref().unwrap_or(&json)), all);
    let _ = without_escapes(text);
});
