//! What every adapter of the port `Store` must do. An adapter's test file calls [`conformance!`] with the name of
//! an async function that gives a fresh, empty store.

mod entries;
mod evidence;
mod fixtures;
mod inventory;
mod nodes;
mod records;

pub(crate) use entries::*;
pub(crate) use evidence::*;
pub(crate) use fixtures::*;
pub(crate) use inventory::*;
pub(crate) use nodes::*;
pub(crate) use records::*;

/// One test per case, each on a store of its own.
#[macro_export]
macro_rules! conformance {
    ($fresh:path: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _keep) = $fresh().await;
                conformance::$case(&store).await;
            }
        )*
    };
    ($fresh:path) => {
        $crate::conformance!($fresh:
            a_new_store_is_empty,
            entries_read_back_as_they_were_written,
            entries_come_in_the_order_of_creation,
            an_entry_is_updated_and_deleted,
            an_id_is_taken_once,
            what_is_not_there_cannot_be_changed,
            changes_are_made_all_or_none,
            one_callers_failure_is_not_anothers,
            agents_read_back_as_they_were_written,
            an_agent_is_replaced_and_deleted,
            lines_read_back_are_replaced_and_removed,
            keys_of_machines_read_back_and_stand_where_they_were_put_last,
            authorities_read_back,
            logs_grow_where_they_end_and_go_with_their_boot,
            an_ek_has_the_certificate_that_was_kept_last,
            the_bundle_sequence_only_rises,
            records_have_rising_sequence_numbers,
            intents_are_one_record_each,
            an_outcome_settles_its_intents_once,
            svids_with_a_role_are_found_by_their_serial_number,
            totals_count_svids_and_verdicts,
            records_are_filtered_and_paged,
            records_are_found_by_time_also_where_the_clock_was_set_back,
            what_is_committed_later_arrives,
            a_check_succeeds_and_leaves_no_record,
        );
    };
}
