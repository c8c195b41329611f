//! QUE-5, QUE-6 with the power cut.
use powercut::namespace::privately;
use powercut::proof::*;

fn ext() -> Extent {
    let n = |name: &str| std::env::var(name).unwrap().parse().unwrap();
    Extent {
        seed: n("SEED") as u64,
        messages: 40,
        cuts: n("CUTS"),
    }
}
#[test]
fn small() {
    let report = privately(|| prove(&Forgetful::default(), ext())).unwrap();
    eprintln!("{report:#?}");
}
#[test]
fn small_b() {
    let report = privately(|| prove(&Lossy::honest(powercut::lossy::FileSystem::Ext4)?, ext())).unwrap();
    eprintln!("{report:#?}");
}
#[test]
fn neg() {
    privately(|| {
        for kind in kinds_of_syncs(ext())? {
            let t = std::time::Instant::now();
            let r = refute(&without(&kind), ext())?;
            eprintln!("{kind}: {:?} {:?}", t.elapsed(), r);
        }
        Ok(())
    })
    .unwrap();
}
#[test]
fn negb() {
    privately(|| {
        let mut l = Lossy::honest(powercut::lossy::FileSystem::Ext4)?;
        l.ignore_flushes = true;
        eprintln!("flushes {:?}", refute(&l, ext())?);
        l.ignore_flushes = false;
        for call in powercut::calls::Call::ALL {
            l.ignored_calls = vec![call];
            eprintln!("{call:?} {:?}", refute(&l, ext())?);
        }
        l.ignored_calls = powercut::calls::Call::ALL.to_vec();
        eprintln!("all {:?}", refute(&l, ext())?);
        Ok(())
    })
    .unwrap();
}
