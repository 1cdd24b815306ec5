//! A segment whose header is damaged: its frames, and the segment before it, tell what stood there.

use std::{io, path::Path, sync::Arc};

use super::{
    disk::DiskFile,
    format::{FrameHead, SEGMENT_HEADER, Sealed, SegmentHeader, SegmentKey, Totals},
    search::Search,
    segments::{Segment, Walk, locate},
};
use crate::adapters::journal::Origin;

/// Writes the header of segment `number` anew; `None` where there is no frame of it. A header is
/// durable before any frame is written, so a segment that was being made has none.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn rebuild(
    path: &Path,
    file: &Arc<dyn DiskFile>,
    origin: Origin,
    number: u64,
    before: Option<&(SegmentHeader, Arc<dyn DiskFile>)>,
    behind: Option<&SegmentHeader>,
) -> io::Result<Option<SegmentHeader>> {
    let after = before.map_or(0, |(header, _)| header.first_sequence - 1);
    let Some(first) = first_frame(&**file, SegmentKey::new(origin, number), after)? else {
        return Ok(None);
    };
    let mut header = SegmentHeader {
        origin,
        number,
        first_sequence: first.sequence,
        totals: Totals::default(),
        // Too small rather than too large, so that what is missing before this frame is damage.
        first_commit: first.commit.saturating_sub(1).max(1),
        before: None,
    };
    header.totals = totals_before(&header, file, behind)?;
    if let Some((before, its_file)) = before {
        let segment = Segment::new(before, its_file.clone(), its_file.size()?);
        let located = locate(&segment, first.sequence, &header.totals)?;
        header.first_sequence = located.sequence;
        header.totals = located.totals;
        header.before = Some(Sealed { number: before.number, end: located.offset });
    }
    let path = path.display();
    tracing::error!(%path, first = header.first_sequence, "the header of a spool segment is damaged: it is written anew from its records");
    if let Err(error) = file.write_at(&header.encode(), 0).and_then(|()| file.sync()) {
        tracing::warn!(%path, %error, "cannot write the header of a spool segment; the next start tries again");
    }
    Ok(Some(header))
}

/// The first valid frame; looked for by its sequence only where it is not where it should be.
fn first_frame(file: &dyn DiskFile, key: SegmentKey, after: u64) -> io::Result<Option<FrameHead>> {
    let mut search = Search::new(file, key, SEGMENT_HEADER as u64, file.size()?);
    match search.here()?.filter(|head| head.sequence > after) {
        Some(head) => Ok(Some(head)),
        None => Ok(search.next(after)?.map(|hit| hit.head)),
    }
}

/// Cumulative messages before the first frame, as the frames tell. A source without frames in the
/// segment has as many behind it.
fn totals_before(
    header: &SegmentHeader,
    file: &Arc<dyn DiskFile>,
    behind: Option<&SegmentHeader>,
) -> io::Result<Totals> {
    let end = file.size()?;
    let segment = Segment::new(header, file.clone(), end);
    let first = header.first_sequence;
    let mut walk = Walk::from(&segment, end, SEGMENT_HEADER as u64, first - 1);
    let at_end = behind.map_or_else(Totals::default, |header| header.totals);
    Ok(walk.skip_damage(first)?.totals_behind(&Totals::default(), &at_end))
}
