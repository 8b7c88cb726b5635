/* The tests of floor 4, one binary of several files. */
#ifndef TEST_QUANT_H
#define TEST_QUANT_H

void five_weights_give_the_figures_of_the_lesson(void **state);
void five_weights_are_best_clipped_near_their_maximum(void **state);
void ties_go_to_the_even_code(void **state);
void ties_count_the_same_in_histogram_and_elementwise(void **state);
void empty_and_constant_ranges_get_scale_one(void **state);
void stored_half_scales_never_vanish(void **state);
void settings_compare_and_print(void **state);
void wrong_settings_are_refused_by_field(void **state);
void ranges_reach_the_largest_float(void **state);
void stored_size_counts_codes_scales_and_zero_points(void **state);
void levels_are_the_reconstruction_points(void **state);
void strided_channels_quantize_like_their_transpose(void **state);
void nonfinite_values_become_zero_and_are_counted(void **state);
void results_do_not_depend_on_the_threads(void **state);
void work_stops_when_cancelled(void **state);
void sampled_histograms_say_so(void **state);
void tensors_without_values_cost_nothing(void **state);
void missing_range_is_refused(void **state);
void allocation_failures_are_reported(void **state);
void calibrators_choose_the_range_of_the_oracle(void **state);
void every_calibrator_keeps_its_promises(void **state);
void scaling_the_data_scales_the_range(void **state);
void calibrators_differ_as_the_literature_says(void **state);
void zeros_leave_the_divergence_alone(void **state);
void pixels_are_not_cut_to_what_is_kept_exactly(void **state);
void calibrators_refuse_a_histogram_without_values(void **state);
void zero_tensor_gets_an_empty_range_and_no_error(void **state);
void calibrator_text_is_parsed_or_explained(void **state);
void unknown_calibrator_names_the_nearest(void **state);
void calibrator_rows_are_complete(void **state);
void metrics_equal_the_oracle_within_their_bound(void **state);
void real_weights_keep_the_bound_of_the_histogram(void **state);
void float_formats_match_elementwise_rounding(void **state);
void values_beyond_fp16_saturate_and_count_as_clipped(void **state);
void residual_is_uniform_inside_and_long_when_clipped(void **state);
void theory_gains_six_decibels_a_bit(void **state);
void lloyd_max_of_even_values_is_the_uniform_grid(void **state);
void lloyd_max_reaches_the_published_optimum_of_a_normal(void **state);
void no_uniform_grid_beats_lloyd_max(void **state);
void few_distinct_values_need_no_more_levels(void **state);
void evaluations_allocate_nothing(void **state);
void a_histogram_of_another_layout_is_refused(void **state);
void table_metrics_equal_the_oracle(void **state);
void calibrators_choose_the_oracles_range_for_tables(void **state);
void table_codes_reconstruct_the_quantized_values(void **state);
void table_values_go_to_the_nearest_level(void **state);
void table_settings_leave_no_choice_of_bits_and_symmetry(void **state);
void table_sizes_count_codes_and_scales(void **state);
void nf4_beats_even_steps_on_normal_weights(void **state);
void table_residuals_stay_within_half_the_widest_step(void **state);

#endif
