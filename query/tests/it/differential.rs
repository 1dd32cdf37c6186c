//! Random questions to every endpoint, beside a straight count over the raw rows.
//!
//! `WEIR_TEST_QUESTIONS=1000` asks more of them, `WEIR_TEST_SEED=7` the same ones again.

mod ask;
mod count;
mod rows;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::dice::Dice;
use crate::world::World;
use ask::Asked;
use count::Rows;

const QUESTIONS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the tests, which is no setting of weir"
    )]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_questions_are_answered_as_a_straight_count_answers_them() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("WEIR_TEST_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    let questions = number("WEIR_TEST_QUESTIONS").unwrap_or(QUESTIONS);
    println!("WEIR_TEST_SEED={seed} WEIR_TEST_QUESTIONS={questions}");
    let world = World::new().await;
    // The rows are the same in every run; the questions are not.
    let rows = rows::rows();
    // In several blocks, and not in the order of their times: late events are among them.
    for block in rows.chunks(8000) {
        world.insert(block).await;
    }
    let mut rows = Rows::new(rows);
    let dice = &mut Dice(seed);
    let mut met = 0;
    let mut estimated = 0;
    for nth in 0..questions {
        let asked = match nth {
            // Few of the others are about more users than are counted one by one.
            0 => Asked::everybody(),
            _ => Asked::random(dice),
        };
        let parameters = asked.parameters();
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let (status, answer) = world.json(asked.route(), &parameters).await;
        let told = format!("question {nth} of seed {seed}: {asked:?}");
        assert_eq!(status, 200, "{told}: {answer}");
        // Asked again, it may be an answer that was kept.
        let again = world.json(asked.route(), &parameters).await;
        assert_eq!(again, (200, answer.clone()), "{told}, asked again");
        met += count::compare(&mut rows, &asked, &answer, &told);
        let error_pct = answer["unique_users_error_pct"].as_f64();
        estimated += u64::from(error_pct.is_some_and(|error_pct| error_pct > 0.0));
    }
    println!("{met} rows were met, {estimated} answers were estimates");
    assert!(met > 100 * questions, "the questions met {met} rows only");
    assert!(estimated > 0, "no answer was an estimate");
    world.stop().await;
}
