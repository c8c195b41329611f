//! QUE-5, QUE-6 with the power cut.
use powercut::namespace::privately;
use powercut::proof::*;

#[test]
fn small() {
    let report = privately(|| {
        prove(
            &Forgetful::default(),
            Extent {
                seed: 1,
                messages: 40,
                cuts: 60,
                stop_at_first: false,
            },
        )
    })
    .unwrap();
    eprintln!("{report:#?}");
}
#[test]
fn small_b() {
    let report = privately(|| {
        prove(
            &Lossy::honest(powercut::lossy::FileSystem::Ext4)?,
            Extent {
                seed: 1,
                messages: 40,
                cuts: 10,
                stop_at_first: false,
            },
        )
    })
    .unwrap();
    eprintln!("{report:#?}");
}

#[test]
fn torn() {
    let options = powercut::forgetful::Options {
        renames: powercut::forgetful::Renames::Torn,
        ..Default::default()
    };
    let report = privately(|| {
        prove(
            &Forgetful(options),
            Extent {
                seed: 1,
                messages: 40,
                cuts: 60,
                stop_at_first: false,
            },
        )
    })
    .unwrap();
    eprintln!("{report:#?}");
}
