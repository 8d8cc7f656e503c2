from data.errors import nearest


def test_a_near_miss_is_answered_with_the_name_meant():
    assert nearest("h100_sxm", ["h100-sxm", "a100-sxm"]) == "did you mean 'h100-sxm'?"


def test_a_wild_guess_is_answered_with_all_names():
    assert nearest("zzz", ["h100-sxm", "a100-sxm"]) == "known: a100-sxm, h100-sxm"
