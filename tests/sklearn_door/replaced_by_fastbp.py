"""A pytest plugin: whoever imports scikit-learn's MLPClassifier and MLPRegressor afterwards gets fastbp's."""


def pytest_configure():
    import sklearn.neural_network

    import fastbp.sklearn

    sklearn.neural_network.MLPClassifier = fastbp.sklearn.MLPClassifier
    sklearn.neural_network.MLPRegressor = fastbp.sklearn.MLPRegressor
