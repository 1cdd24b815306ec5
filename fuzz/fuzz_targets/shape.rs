//! The shape of any message: masking, exceptions, gathering.
#![no_main]

use faultline_actors::domain::{
    fault::Gathering,
    shape::{Masked, Shape, exception::Exception, mask::MAX_PIECES},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let shape = Shape::of_log(&text);
    assert_eq!(shape, Shape::of_log(&text));
    assert!(shape.title.len() <= Shape::MAX_TITLE);
    assert_eq!(shape.fingerprint.to_string().parse(), Ok(shape.fingerprint));
    let is_plain = |character: char| !character.is_ascii_control() || character == Shape::HOLE;
    assert!(shape.template.chars().all(is_plain));

    // The pieces stand in the text one behind the other.
    let masked = Masked::new(&text);
    assert!(masked.pieces().len() <= MAX_PIECES + 2);
    let mut end = 0;
    for piece in masked.pieces() {
        assert!(end <= piece.start && piece.start <= piece.end, "{piece:?}");
        end = piece.end;
    }

    if let Some(exception) = Exception::find(&text) {
        assert!(!exception.links.is_empty());
        let _ = Shape::of_error("", &text, None);
    }

    let mut gathering = Gathering::new(64);
    let found = gathering.find(&(), &shape.template);
    assert!(found.is_none());
    gathering.add(&(), &shape.template, 1);
    let _ = gathering.find(&(), &shape.template);
});
