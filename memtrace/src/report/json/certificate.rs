//! What the numbers are worth.

use memtrace_ebpf::SegmentHooks;
use serde::{Serialize, Serializer};

use crate::model::{Certificate, Quantities, SegmentsSeen, SizesSeen, Verdict, Worth};

#[derive(Serialize)]
pub(super) struct CertificateDoc {
    verdict: &'static str,
    within_bytes: u64,
    reasons: Vec<String>,
    remarks: Vec<String>,
    tier: String,
    events: u64,
    lost: LostDoc,
    residual_bytes: u64,
    breakdown_difference_bytes: u64,
    cross_checks: CrossChecksDoc,
    quantities: QuantitiesDoc,
    /// What the first results had of [`QuantitiesDoc`].
    virtual_sizes: VirtualSizesDoc,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<SegmentsSeenDoc>,
}

/// What segments are worth.
#[derive(Serialize)]
struct SegmentsSeenDoc {
    /// By what they were told apart: `functions` of the kernel, or `hints`.
    by: &'static str,
    verdict: &'static str,
    /// Null without a bound.
    within_bytes: Option<u64>,
    exact_images: usize,
    images: usize,
    /// Comparisons with smaps; one that differs widens `within_bytes`.
    compared_with_smaps: u64,
}

impl From<SegmentsSeen> for SegmentsSeenDoc {
    fn from(seen: SegmentsSeen) -> Self {
        let SegmentsSeen {
            by,
            within,
            exact,
            images,
            compared,
        } = seen;
        Self {
            by: match by {
                SegmentHooks::Functions => "functions",
                SegmentHooks::Hints => "hints",
                SegmentHooks::Off => "nothing",
            },
            verdict: match within {
                Some(0) => "exact",
                Some(_) => "within",
                None => "incomplete",
            },
            within_bytes: within,
            exact_images: exact,
            images,
            compared_with_smaps: compared,
        }
    }
}

/// What each kind of number is worth, by its name.
struct QuantitiesDoc(Quantities);

impl Serialize for QuantitiesDoc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.0.all();
        serializer.collect_map(all.map(|(name, worth)| (name, WorthDoc::from(worth))))
    }
}

/// What a kind of number is worth.
#[derive(Serialize)]
struct WorthDoc {
    /// `exact`, `within`, `seen` or `incomplete`.
    verdict: &'static str,
    /// Null unless the verdict is `within`.
    within_bytes: Option<u64>,
    /// When it was looked at; null unless the verdict is `seen`.
    seen: Option<&'static str>,
}

impl From<Worth> for WorthDoc {
    fn from(worth: Worth) -> Self {
        let (within_bytes, seen) = match worth {
            Worth::Exact | Worth::Incomplete => (None, None),
            Worth::Within(bytes) => (Some(bytes), None),
            Worth::Seen(moments) => (None, Some(moments.name())),
        };
        Self {
            verdict: worth.name(),
            within_bytes,
            seen,
        }
    }
}

/// For each peak of a virtual size: `exact`, or when it was looked at.
#[derive(Serialize)]
struct VirtualSizesDoc {
    size: &'static str,
    stack: &'static str,
    page_tables: &'static str,
    data: &'static str,
    text: &'static str,
    lib: &'static str,
    heap: &'static str,
    locked: &'static str,
    averages: &'static str,
}

impl From<&Certificate> for VirtualSizesDoc {
    fn from(certificate: &Certificate) -> Self {
        let seen = certificate.sizes_seen;
        let (never_missed, others, page_tables) = match seen {
            SizesSeen::AtSystemCalls => ("exact", "exact", "at_system_calls"),
            SizesSeen::AtThreadsSystemCalls => ("exact", "at_system_calls", "at_system_calls"),
            SizesSeen::AtPageFaults => ("exact", "at_page_faults", "at_page_faults"),
            SizesSeen::NowAndThen => ("sampled", "sampled", "sampled"),
        };
        Self {
            // Not of what ran before.
            size: match certificate.quantities.vm_size {
                Worth::Seen(_) => page_tables,
                _ => never_missed,
            },
            stack: never_missed,
            page_tables,
            data: others,
            // The program's own text is there from its start to its end.
            text: never_missed,
            lib: others,
            heap: others,
            locked: others,
            averages: others,
        }
    }
}

#[derive(Serialize)]
struct LostDoc {
    ring: u64,
    maps_full: u64,
    recursion: u64,
    map_busy: u64,
    read_failed: u64,
    undecodable: u64,
}

#[derive(Serialize)]
struct CrossChecksDoc {
    count: u64,
    largest_difference_bytes: u64,
}

impl From<&Certificate> for CertificateDoc {
    fn from(certificate: &Certificate) -> Self {
        let Certificate {
            verdict,
            reasons,
            remarks,
            tier,
            events,
            lost,
            ..
        } = certificate;
        Self {
            verdict: verdict.name(),
            within_bytes: if let Verdict::Within(bytes) = verdict {
                *bytes
            } else {
                0
            },
            reasons: reasons.clone(),
            remarks: remarks.clone(),
            tier: tier.clone(),
            events: *events,
            lost: LostDoc {
                ring: lost.ring,
                maps_full: lost.maps_full,
                recursion: lost.recursion,
                map_busy: lost.map_busy,
                read_failed: lost.read_failed,
                undecodable: lost.undecodable,
            },
            residual_bytes: certificate.residual_bytes,
            breakdown_difference_bytes: certificate.breakdown_difference_bytes,
            quantities: QuantitiesDoc(certificate.quantities),
            virtual_sizes: certificate.into(),
            segments: certificate.segments.map(SegmentsSeenDoc::from),
            cross_checks: CrossChecksDoc {
                count: certificate.cross_checks.count,
                largest_difference_bytes: certificate.cross_checks.largest_difference_bytes,
            },
        }
    }
}
