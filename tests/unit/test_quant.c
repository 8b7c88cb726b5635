#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test_quant.h"

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_weights_give_the_figures_of_the_lesson),
        cmocka_unit_test(five_weights_are_best_clipped_near_their_maximum),
        cmocka_unit_test(ties_go_to_the_even_code),
        cmocka_unit_test(ties_count_the_same_in_histogram_and_elementwise),
        cmocka_unit_test(empty_and_constant_ranges_get_scale_one),
        cmocka_unit_test(stored_half_scales_never_vanish),
        cmocka_unit_test(settings_compare_and_print),
        cmocka_unit_test(wrong_settings_are_refused_by_field),
        cmocka_unit_test(ranges_reach_the_largest_float),
        cmocka_unit_test(stored_size_counts_codes_scales_and_zero_points),
        cmocka_unit_test(levels_are_the_reconstruction_points),
        cmocka_unit_test(strided_channels_quantize_like_their_transpose),
        cmocka_unit_test(nonfinite_values_become_zero_and_are_counted),
        cmocka_unit_test(results_do_not_depend_on_the_threads),
        cmocka_unit_test(work_stops_when_cancelled),
        cmocka_unit_test(sampled_histograms_say_so),
        cmocka_unit_test(tensors_without_values_cost_nothing),
        cmocka_unit_test(missing_range_is_refused),
        cmocka_unit_test(allocation_failures_are_reported),
        cmocka_unit_test(calibrators_choose_the_range_of_the_oracle),
        cmocka_unit_test(every_calibrator_keeps_its_promises),
        cmocka_unit_test(scaling_the_data_scales_the_range),
        cmocka_unit_test(calibrators_differ_as_the_literature_says),
        cmocka_unit_test(zeros_leave_the_divergence_alone),
        cmocka_unit_test(pixels_are_not_cut_to_what_is_kept_exactly),
        cmocka_unit_test(calibrators_refuse_a_histogram_without_values),
        cmocka_unit_test(zero_tensor_gets_an_empty_range_and_no_error),
        cmocka_unit_test(calibrator_text_is_parsed_or_explained),
        cmocka_unit_test(unknown_calibrator_names_the_nearest),
        cmocka_unit_test(calibrator_rows_are_complete),
        cmocka_unit_test(metrics_equal_the_oracle_within_their_bound),
        cmocka_unit_test(real_weights_keep_the_bound_of_the_histogram),
        cmocka_unit_test(float_formats_match_elementwise_rounding),
        cmocka_unit_test(values_beyond_fp16_saturate_and_count_as_clipped),
        cmocka_unit_test(residual_is_uniform_inside_and_long_when_clipped),
        cmocka_unit_test(theory_gains_six_decibels_a_bit),
        cmocka_unit_test(lloyd_max_of_even_values_is_the_uniform_grid),
        cmocka_unit_test(lloyd_max_reaches_the_published_optimum_of_a_normal),
        cmocka_unit_test(no_uniform_grid_beats_lloyd_max),
        cmocka_unit_test(few_distinct_values_need_no_more_levels),
        cmocka_unit_test(evaluations_allocate_nothing),
        cmocka_unit_test(a_histogram_of_another_layout_is_refused),
        cmocka_unit_test(table_metrics_equal_the_oracle),
        cmocka_unit_test(calibrators_choose_the_oracles_range_for_tables),
        cmocka_unit_test(table_codes_reconstruct_the_quantized_values),
        cmocka_unit_test(table_values_go_to_the_nearest_level),
        cmocka_unit_test(table_settings_leave_no_choice_of_bits_and_symmetry),
        cmocka_unit_test(table_sizes_count_codes_and_scales),
        cmocka_unit_test(nf4_beats_even_steps_on_normal_weights),
        cmocka_unit_test(table_residuals_stay_within_half_the_widest_step),
    };

    return cmocka_run_group_tests_name("quant", tests, NULL, NULL);
}
