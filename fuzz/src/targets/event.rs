//! Records of the ring buffer or of a file: any bytes must give an event or an error.

use memtrace::event::Event;

/// Reads these bytes.
pub fn run(data: &[u8]) {
    if let Ok(event) = Event::decode(data) {
        assert_eq!(
            event.bytes(),
            data,
            "what was decoded is not what was given"
        );
        let _ = format!("{event:?}");
    }
}
